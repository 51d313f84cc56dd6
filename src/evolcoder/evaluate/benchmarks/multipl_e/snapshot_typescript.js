// Built once into a start-up snapshot of node: the TypeScript compiler, loaded, with the declarations of the
// standard library parsed. `node --snapshot-blob BLOB tsc FILE.ts` then does what `tsc --target esnext
// FILE.ts` does: it writes FILE.js, prints what is wrong, and ends with 2 if an error is among it.
"use strict";
const fs = require("fs");
const path = require("path");
const { startupSnapshot } = require("v8");

const folder = process.env.TYPESCRIPT_LIB; // as the sandbox sees it later
const here = process.env.TYPESCRIPT_LIB_HERE;
const script = { exports: {} };
const source = fs.readFileSync(path.join(here, "typescript.js"), "utf8");
new Function("module", "exports", "require", "__filename", "__dirname", source)(
  script, script.exports, require, path.join(folder, "typescript.js"), folder,
);
const ts = script.exports;
const options = { target: ts.ScriptTarget.ESNext };
const parsed = new Map();

function parse(name) {
  const file = path.join(here, name);
  if (parsed.has(path.join(folder, name)) || !fs.existsSync(file)) return;
  const tree = ts.createSourceFile(
    path.join(folder, name), fs.readFileSync(file, "utf8"), ts.ScriptTarget.ESNext,
  );
  parsed.set(path.join(folder, name), tree);
  for (const reference of tree.libReferenceDirectives) parse(`lib.${reference.fileName.toLowerCase()}.d.ts`);
}
parse(ts.getDefaultLibFileName(options));

startupSnapshot.setDeserializeMainFunction(() => {
  const file = process.argv[process.argv.length - 1];
  const host = ts.createCompilerHost(options);
  const read = host.getSourceFile.bind(host);
  host.getSourceFile = (name, ...rest) => parsed.get(name) ?? read(name, ...rest);
  host.getDefaultLibLocation = () => folder;
  host.getDefaultLibFileName = (of) => path.join(folder, ts.getDefaultLibFileName(of));
  // The library's own declarations are sound: they are not checked again with every program.
  const program = ts.createProgram([file], { ...options, skipDefaultLibCheck: true }, host);
  const found = ts.getPreEmitDiagnostics(program).concat(program.emit().diagnostics);
  process.stdout.write(ts.formatDiagnostics(found, host));
  process.exitCode = found.some((each) => each.category === ts.DiagnosticCategory.Error) ? 2 : 0;
});
