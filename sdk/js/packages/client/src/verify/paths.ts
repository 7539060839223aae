// Paths of files in a release: relative, "/" between the parts, and nothing that some file system reads differently.
import type { File } from "../words/documents.js";
import { compareBytes, utf8Length } from "./bytes.js";

/** Says what is wrong with a path, "" when it is good. */
export function checkPath(p: string): string {
  if (p === "") return "path is empty";
  if (utf8Length(p) > 512) return "path is longer than 512 bytes";
  if (p.normalize && p.normalize("NFC") !== p) return `path "${p}" is not in Unicode normal form C`;
  if (/[\\:\u0000-\u001f\u007f-\u009f]/.test(p)) return `path "${p}" contains a forbidden character`;
  for (const part of p.split("/")) {
    if (part === "" || part === "." || part === "..") return `path "${p}": part "${part}"`;
    if (/[. ]$/.test(part)) return `path "${p}": part "${part}" ends in a dot or space`;
    // https://learn.microsoft.com/windows/win32/fileio/naming-a-file
    if (/^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)/i.test(part)) return `path "${p}": part "${part}" is a name reserved by Windows`;
  }
  return "";
}

/** Maps paths that a case-insensitive file system may take for the same to the same text. */
export function foldPath(p: string): string {
  const single = (c: string, mapped: string) => Array.from(mapped).length === 1 ? mapped : c;
  return Array.from(p).map((c) => {
    if (c === "İ") return c;
    const up = single(c, c.toUpperCase());
    return up === "İ" ? up : single(up, up.toLowerCase());
  }).join("");
}

/** Says what is wrong with the files of one manifest, "" when they are good. */
export function checkPaths(files: File[]): string {
  if (files.length > 16000) return `${files.length} files, at most 16000 are allowed`;
  const seen = new Set<string>();
  for (let i = 0; i < files.length; i++) {
    const bad = checkPath(files[i].path);
    if (bad) return bad;
    const folded = foldPath(files[i].path);
    if (seen.has(folded)) return `two paths are the same where case does not count: "${files[i].path}"`;
    seen.add(folded);
    if (i > 0 && compareBytes(files[i - 1].path, files[i].path) >= 0) return `file "${files[i].path}" is not sorted by bytes`;
  }
  for (const folded of Array.from(seen)) {
    for (let i = folded.lastIndexOf("/"); i > 0; i = folded.lastIndexOf("/", i - 1)) {
      if (seen.has(folded.slice(0, i))) return `file "${folded.slice(0, i)}" is also a folder`;
    }
  }
  return "";
}
