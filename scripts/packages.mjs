// Programs that tests need and npm does not have: where they are, and whether
// a Debian package of one may be installed. On a CI machine it is installed, or
// its absence is an error; elsewhere it is asked for, and its tests are skipped.
import { execFile } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { promisify } from 'node:util';
import { run, StepError } from './run.mjs';

/** Whether this is a CI machine, where every test must run and nobody can be asked. */
export const inCI = !['', '0', 'false'].includes(process.env.CI ?? '');

/**
 * A program's path, or undefined where its tests are to be skipped, which has been said then.
 *
 * @param {{ name: string, tests: string, debian: string, advice: string, search: () => Promise<string | undefined> }} program
 */
export async function obtainProgram({ name, tests, debian, advice, search }) {
  const found = await search();
  if (found !== undefined) return found;
  const installable = process.getuid?.() === 0 && (await hasCommand('apt-get'));
  if (installable && (inCI || (await confirm(`\n${tests} need ${name}. Install Debian's package \`${debian}\`?`)))) {
    await installDebianPackage(debian, name);
    const installed = await search();
    if (installed !== undefined) return installed;
  }
  const missing = `${tests} need ${name}, and none was found. ${advice}`;
  if (inCI) throw new StepError(missing);
  console.log(`\n▸ Some tests are skipped. ${missing}`);
  return undefined;
}

/** The first of these that can be run: by name in the folders of PATH and in `elsewhere`, or by path. */
export async function findProgram(names, { elsewhere = [], paths = [] } = {}) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...elsewhere];
  const candidates = [...names.flatMap((name) => folders.map((folder) => join(folder, name))), ...paths];
  for (const candidate of candidates) if (await isExecutable(candidate)) return candidate;
  return undefined;
}

export async function isExecutable(path) {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

async function installDebianPackage(name, title) {
  await run(`Installing ${title} (apt-get)`, 'sh', [
    '-c',
    `apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ${name} >/dev/null`,
  ]);
}

/** Asks at the terminal; without one the answer is no. */
async function confirm(question) {
  if (!process.stdin.isTTY || !process.stdout.isTTY) return false;
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  try {
    return /^y(es)?$/i.test((await terminal.question(`${question} [y/N] `)).trim());
  } finally {
    terminal.close();
  }
}

async function hasCommand(command) {
  return promisify(execFile)(command, ['--version']).then(
    () => true,
    () => false,
  );
}
