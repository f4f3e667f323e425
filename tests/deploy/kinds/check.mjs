// What is wrong with manifests, by the types and the schemas of their kinds: a list of faults for each one of
// standard input, `[{module, content}]`. The compiler refuses fields that a type does not have, at any depth, which
// the schemas let pass; the schemas know more of values.
import { readFileSync } from "node:fs";
import ts from "typescript";

const manifests = JSON.parse(readFileSync(0, "utf8"));
const options = {
  noEmit: true,
  strict: true,
  skipLibCheck: true,
  types: [],
  lib: ["lib.es2022.d.ts"],
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
};
const fileOf = (index) => `${import.meta.dirname}/manifest-${index}.ts`;
const source = ({ module, content }) =>
  `import type { I${content.kind} } from "${module}/${content.kind}";\n` +
  `export const manifest: I${content.kind} = ${JSON.stringify(content)};\n`;
const sources = new Map(manifests.map((manifest, index) => [fileOf(index), source(manifest)]));

const host = ts.createCompilerHost(options);
const { fileExists, getSourceFile } = host;
host.fileExists = (name) => sources.has(name) || fileExists(name);
host.getSourceFile = (name, ...rest) =>
  sources.has(name) ? ts.createSourceFile(name, sources.get(name), ...rest) : getSourceFile(name, ...rest);
const program = ts.createProgram([...sources.keys()], options, host);

function faultsOfTypes(index) {
  const file = program.getSourceFile(fileOf(index));
  const found = [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)];
  return found.map((fault) => ts.flattenDiagnosticMessageText(fault.messageText, " "));
}

async function faultsOfValues({ module, content }) {
  try {
    new (await import(`${module}/${content.kind}`))[content.kind](content).validate();
    return [];
  } catch (error) {
    return [error.message];
  }
}

const faults = manifests.map(async (manifest, index) => [
  ...faultsOfTypes(index),
  ...(await faultsOfValues(manifest)),
]);
console.log(JSON.stringify(await Promise.all(faults)));
