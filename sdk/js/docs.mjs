// Writes the reference of every entry of the packages, as Markdown, into docs/api/js or the folder that is given.
import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Application } from "typedoc";

const here = dirname(fileURLToPath(import.meta.url)), out = resolve(process.argv[2] ?? join(here, "../../docs/api/js"));

/** Source below packages → the name that users import. */
const entries = new Map();
for (const folder of ["client", "metro"]) {
  const { name, exports } = JSON.parse(readFileSync(join(here, "packages", folder, "package.json"), "utf8"));
  for (const [entry, target] of Object.entries(exports)) {
    const built = target.import?.default ?? target.import;
    if (built) entries.set(folder + built.replace("./dist/esm/", "/src/").replace(/\.js$/, ""), name + entry.slice(1));
  }
}

const app = await Application.bootstrapWithPlugins({
  entryPoints: [...entries.keys()].map((e) => join(here, "packages", e + ".ts")), tsconfig: join(here, "tsconfig.docs.json"), plugin: ["typedoc-plugin-markdown"], outputs: [{ name: "markdown", path: out }],
  name: "The JavaScript packages", readme: "none", excludePrivate: true, excludeInternal: true, excludeExternals: true, disableSources: true, disableGit: true,
  hideGenerator: true, router: "module", hideBreadcrumbs: true, hidePageHeader: true, cleanOutputDir: true, treatWarningsAsErrors: false,
  parametersFormat: "table", interfacePropertiesFormat: "table", classPropertiesFormat: "table", typeAliasPropertiesFormat: "table", enumMembersFormat: "table",
  sort: ["source-order"], expandObjects: false, useCodeBlocks: true, logLevel: "Warn", validation: { notExported: false, invalidLink: true, notDocumented: false },
});
const project = await app.convert();
if (!project) process.exit(1);
for (const module of project.children ?? []) module.name = entries.get(module.name) ?? entries.get(module.name + "/index") ?? module.name;
await app.generateOutputs(project);
if (app.logger.hasErrors()) process.exit(1);
