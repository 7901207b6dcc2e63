// Finds programs that scripts need and npm does not provide, and installs missing ones.
// In CI, a missing program is installed, or is an error; elsewhere the user is asked, and
// otherwise the steps that need it are skipped.
import { execFile } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { promisify } from 'node:util';
import { run, StepError, targetFolder } from './run.mjs';

/** The folder into whose `bin` `cratesPackage` installs programs. */
export const toolsFolder = join(targetFolder, 'tools');

/** Whether this is a CI machine, where every test must run and there is no user to ask. */
export const inCI = !['', '0', 'false'].includes(process.env.CI ?? '');

/**
 * A program's path. If it is missing, prints that the steps that need it are skipped, and returns undefined.
 *
 * @param {{
 *   name: string,
 *   for: string,
 *   skipped: string,
 *   installer: { question: string, available: () => Promise<boolean>, install: (name: string) => Promise<void> },
 *   advice: string,
 *   search: () => Promise<string | undefined>,
 * }} program `for` and `skipped` are plural nouns for messages: the users of the program, and the steps that are skipped
 *   without it
 */
export async function obtainProgram({ name, for: users, skipped, installer, advice, search }) {
  const found = await search();
  if (found !== undefined) return found;
  if ((await installer.available()) && (inCI || (await confirm(`\n${users} need ${name}. ${installer.question}`)))) {
    await installer.install(name);
    const installed = await search();
    if (installed !== undefined) return installed;
  }
  const missing = `${users} need ${name}, and none was found. ${advice}`;
  if (inCI) throw new StepError(missing);
  console.log(`\n▸ ${skipped} are skipped. ${missing}`);
  return undefined;
}

/** Installs a Debian package, as root. */
export function debianPackage(debian) {
  return {
    question: `Install Debian's package \`${debian}\`?`,
    available: async () => process.getuid?.() === 0 && (await hasCommand('apt-get')),
    install: (name) =>
      run(`Installing ${name} (apt-get)`, 'sh', [
        '-c',
        `apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ${debian} >/dev/null`,
      ]),
  };
}

/** Compiles a crate of crates.io into `toolsFolder`, which needs no privileges. */
export function cratesPackage(crate, version) {
  return {
    question: `Compile ${crate} ${version} into target/tools? It takes some minutes.`,
    available: () => hasCommand('cargo'),
    install: (name) =>
      run(`Installing ${name} (cargo)`, 'cargo', [
        'install',
        '--locked',
        '--quiet',
        '--root',
        toolsFolder,
        `${crate}@${version}`,
      ]),
  };
}

/** The first of these that is executable: by name in the folders of PATH and in `elsewhere`, or by path. */
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

/** Prompts at the terminal; without one, the answer is no. */
async function confirm(question) {
  if (!process.stdin.isTTY || !process.stdout.isTTY) return false;
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  try {
    return /^y(es)?$/i.test((await terminal.question(`${question} [y/N] `)).trim());
  } finally {
    terminal.close();
  }
}

/** Whether a command exists and can tell its version. */
export async function hasCommand(command) {
  return promisify(execFile)(command, ['--version']).then(
    () => true,
    () => false,
  );
}
