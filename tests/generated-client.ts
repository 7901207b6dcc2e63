/** A client of `openapi-fetch`, generated from the OpenAPI document of a project, compiled and loaded. */
import { execFile } from 'node:child_process';
import { symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { transform } from 'esbuild';
import { expect } from 'vitest';
import type { CommandLine, Files } from './command-line.js';

const repository = join(import.meta.dirname, '..');
/** The generator works with TypeScript 5, which that workspace has. */
const typeTests = createRequire(join(repository, 'type-tests/package.json'));
const programOf = (name: string, path: string) => join(dirname(typeTests.resolve(`${name}/package.json`)), path);

/** The files of a project whose client is `code`; it imports `./schema.js`. */
export function clientProject(code: string): Files {
  const compilerOptions = {
    module: 'nodenext',
    target: 'es2023',
    lib: ['es2023', 'dom'],
    types: [],
    strict: true,
    noEmit: true,
  };
  return { 'client.ts': code, 'tsconfig.json': JSON.stringify({ compilerOptions, files: ['client.ts'] }) };
}

/** Generates `schema.ts` from the document, compiles the client, and imports it. */
export async function generateClient<Exports>(app: CommandLine, code: string): Promise<Exports> {
  const node = (...args: string[]) => promisify(execFile)(process.execPath, args, { cwd: app.root });
  await linkPackages(app, 'openapi-fetch', 'openapi-typescript-helpers');
  expect((await app.run(['openapi', '--out', 'openapi.json'])).code).toBe(0);
  await node(programOf('openapi-typescript', 'bin/cli.js'), 'openapi.json', '-o', 'schema.ts');
  const compiled = await node(programOf('typescript', 'bin/tsc'), '-p', '.').catch((error) => error);
  expect(compiled.stdout).toBe('');
  const { code: script } = await transform(code, { loader: 'ts', format: 'esm' });
  await app.write({ 'client.mjs': script });
  return import(pathToFileURL(join(app.root, 'client.mjs')).href);
}

/** Makes packages of this repository those of a project. */
export async function linkPackages(app: CommandLine, ...names: string[]): Promise<void> {
  for (const name of names) await symlink(join(repository, 'node_modules', name), join(app.root, 'node_modules', name));
}
