/**
 * Writes a generated project into a folder: 60 tables, 500 functions in 100 files, and 40 files of React components.
 *
 * Each table is an export of `schema.ts`, or, with `exportsTables: false`, all are in one `defineSchema({ … })`. With
 * `stub` the files are the same, but everything that Convoy types is `any`: the difference between the two is the work
 * that Convoy's types cause.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { componentFiles } from './components.mjs';
import { functionFiles, functionList } from './functions.mjs';
import { stubFiles } from './stub.mjs';
import { schemaFile, TABLES } from './tables.mjs';

const COMPILER_OPTIONS = {
  target: 'ES2023',
  module: 'ESNext',
  moduleResolution: 'Bundler',
  lib: ['ES2023', 'DOM', 'DOM.Iterable'],
  jsx: 'react-jsx',
  types: [],
  strict: true,
  noUncheckedIndexedAccess: true,
  verbatimModuleSyntax: true,
  isolatedModules: true,
  skipLibCheck: true,
  noEmit: true,
};

/**
 * @param {string} folder below one whose node_modules has the packages
 * @param {(project: object) => Iterable<readonly [string, string]>} generateFiles the code generator of the package
 * @param {{ stub?: boolean, exportsTables?: boolean }} [options]
 */
export async function writeProject(folder, generateFiles, { stub = false, exportsTables = true } = {}) {
  const files = new Map([['convoy/schema.ts', schemaFile(exportsTables)]]);
  for (const [name, text] of functionFiles()) files.set(`convoy/functions/${name}.ts`, text);
  for (const [name, text] of componentFiles()) files.set(`client/${name}.tsx`, text);
  const generated = stub ? stubFiles() : inGenerated(generateFiles, exportsTables);
  for (const [name, text] of generated) files.set(name, text);
  files.set('tsconfig.json', JSON.stringify(configuration(stub), null, 2));
  for (const [name, text] of files) {
    const path = join(folder, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
  }
}

function inGenerated(generateFiles, exportsTables) {
  const files = generateFiles({
    schema: { module: '../schema.js', exportName: 'default' },
    tables: TABLES.map(({ name, isUnion }) => ({ name, isUnion, exportName: exportsTables ? name : undefined })),
    functions: functionList(),
    serverModule: null,
    hasContext: false,
    drizzleStandIn: false,
  });
  return [...files].map(([name, text]) => [`convoy/_generated/${name}`, text]);
}

function configuration(stub) {
  const paths = Object.fromEntries(
    ['', '/client', '/react'].map((entry) => [`@avvos/convoy${entry}`, ['./stub/convoy.ts']]),
  );
  // Callbacks of what is `any` have no types for their parameters.
  const compilerOptions = stub ? { ...COMPILER_OPTIONS, noImplicitAny: false, paths } : COMPILER_OPTIONS;
  return { compilerOptions, include: ['convoy', 'client'] };
}
