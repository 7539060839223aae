// A Markdown table, printed and, when wanted, put between its marks in docs/benchmarks.md.
import { readFileSync, writeFileSync } from "node:fs";

export function writeTable(name, head, rows, write) {
  const table = [head, head.map(() => "---"), ...rows].map((r) => `| ${r.join(" | ")} |`).join("\n");
  console.log(table);
  if (!write) return;
  const file = new URL("../../../docs/benchmarks.md", import.meta.url), text = readFileSync(file, "utf8");
  const open = `<!-- ${name} -->\n`, close = `<!-- end of ${name} -->`;
  const from = text.indexOf(open), to = text.indexOf(close);
  if (from < 0 || to < from) throw new Error(`docs/benchmarks.md has no place for "${name}"`);
  writeFileSync(file, text.slice(0, from) + open + "\n" + table + "\n\n" + text.slice(to));
}
