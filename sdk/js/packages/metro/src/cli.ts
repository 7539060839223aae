#!/usr/bin/env node
import { parseArgs } from "node:util";
import { build } from "./build.js";

const usage = `Builds the packages of a React Native app, a folder each for slipstream publish.

  slipstream-metro build --platform android --out dist/android [flags]

  --project DIR        the app (default: this folder)
  --config FILE        its Metro configuration (default: metro.config.js)
  --platform NAME      android or ios
  --out DIR            where the packages go: DIR/base, DIR/cart, … and DIR/base.build, … for you to keep
  --only NAMES         packages to build, by commas (default: all)
  --released FILE      modules.json of the released base: businesses alone are built against it, a new base is compared with it
  --base-may-shrink    let the new base lack modules that the released one has
  --requires BASE      what the businesses need, for slipstream publish: base>=12
  --dev                for development: not minified, with names and warnings
  --no-minify          leave names and spaces as they are
  --hermes             compile to Hermes bytecode (slipstream publish can do it too, and then makes smaller updates)
  --hermesc FILE       the compiler (default: that of react-native)
  --json               print one JSON value
`;

async function main(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args, allowPositionals: true,
    options: {
      project: { type: "string", default: "." }, config: { type: "string" }, platform: { type: "string" }, out: { type: "string" }, only: { type: "string" },
      released: { type: "string" }, "base-may-shrink": { type: "boolean" }, requires: { type: "string" }, dev: { type: "boolean" },
      "no-minify": { type: "boolean" }, hermes: { type: "boolean" }, hermesc: { type: "string" }, json: { type: "boolean" }, help: { type: "boolean", short: "h" },
    },
  });
  if (values.help || positionals.length === 0) {
    process.stdout.write(usage);
    return;
  }
  if (positionals.join(" ") !== "build") throw new Error(`unknown command "${positionals.join(" ")}": the only one is build (--help)`);
  if (!values.platform || !values.out) throw new Error("build needs --platform and --out, e.g. --platform android --out dist/android");
  const report = await build({
    projectRoot: values.project, config: values.config, platform: values.platform, out: values.out, only: values.only?.split(","), released: values.released,
    baseMayShrink: values["base-may-shrink"], dev: values.dev, ...(values["no-minify"] ? { minify: false } : {}), hermes: values.hermesc ?? values.hermes,
    publish: values.requires === undefined ? undefined : { requires: [values.requires] },
  });
  if (values.json) {
    process.stdout.write(JSON.stringify(report, null, 1) + "\n");
    return;
  }
  for (const one of report.packages) {
    process.stdout.write(`${one.package.padEnd(16)} ${String(one.modules).padStart(5)} modules ${String(one.assets.length).padStart(4)} assets ${String(one.bytes).padStart(9)} bytes (${one.gzip} gzip)  ${one.directory}\n`);
  }
  for (const note of report.notes) process.stdout.write(`note: ${note}\n`);
}

main(process.argv.slice(2)).catch((err: Error) => {
  process.stderr.write(`Error: ${err.message}\n`);
  process.exitCode = 1;
});
