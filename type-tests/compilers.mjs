/** The two compilers: TypeScript 5.9, which this folder has for itself, and the latest one, which the repository uses. */
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const root = join(import.meta.dirname, '..');

const folderOf = (from) => dirname(createRequire(join(from, 'package.json')).resolve('typescript/package.json'));

/** Their folders. `single` are the arguments that make the work of the compiler the same in each run. */
export const COMPILERS = [
  { name: 'TypeScript 5.9', folder: folderOf(import.meta.dirname), single: [] },
  { name: 'TypeScript 7', folder: folderOf(root), single: ['--singleThreaded'] },
];

/**
 * Type-checks a project.
 *
 * @param {{ folder: string }} compiler
 * @param {string} project the folder of its tsconfig.json
 * @param {readonly string[]} [args]
 * @returns {Promise<{ errors: string[], instantiations: number, seconds: number }>}
 */
export async function typeCheck({ folder }, project, args = []) {
  const start = performance.now();
  const text = await output(join(folder, 'bin/tsc'), [
    '-p',
    project,
    '--pretty',
    'false',
    '--extendedDiagnostics',
    ...args,
  ]);
  const seconds = (performance.now() - start) / 1_000;
  const instantiations = /^Instantiations:\s+(\d+)/m.exec(text)?.[1];
  if (instantiations === undefined) throw new Error(`The compiler printed no diagnostics:\n${text}`);
  const errors = text.split('\n').filter((line) => line.includes('error TS'));
  return { errors, instantiations: Number(instantiations), seconds };
}

function output(program, args) {
  return new Promise((resolve) => {
    // The exit code is ignored: the compiler prints every error.
    execFile(process.execPath, [program, ...args], { maxBuffer: 2 ** 26 }, (_error, stdout, stderr) =>
      resolve(stdout + stderr),
    );
  });
}
