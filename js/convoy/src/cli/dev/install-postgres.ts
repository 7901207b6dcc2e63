/**
 * Ensures, before `convoy dev` starts anything, that the embedded Postgres is installed where it is needed. At a
 * terminal it offers to install it; otherwise the error says the command.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { ProjectLayout } from '../options.js';
import { BinariesMissing, findBinariesPackage } from '../postgres/index.js';
import type { Terminal } from '../terminal.js';

/** The parts that tests replace. */
export interface Installer {
  /** Whether someone is at the terminal. */
  readonly interactive: boolean;
  ask(question: string): Promise<boolean>;
  /** Runs the command in a folder. Rejects if it fails. */
  run(command: string, folder: string): Promise<void>;
}

export const terminalInstaller: Installer = {
  // `npm exec` and CI systems may attach a terminal to the output only.
  interactive: process.stdin.isTTY === true && process.stdout.isTTY === true && !process.env.CI,
  ask: askYes,
  run: runCommand,
};

export async function ensureEmbeddedPostgres(
  { root, stateFolder }: ProjectLayout,
  terminal: Terminal,
  installer: Installer = terminalInstaller,
): Promise<void> {
  const missing = await missingIn(stateFolder);
  if (missing === null) return;
  if (!installer.interactive) throw missing;
  terminal.info('DATABASE_URL is not set, and the embedded Postgres is not installed.');
  if (!(await installer.ask(`  Install it now (${missing.command})? [Y/n] `))) throw missing;
  await installer.run(missing.command, root);
  // Yarn Plug'n'Play, for one, resolves packages from a map that this process read when it started.
  if ((await missingIn(stateFolder)) !== null) {
    throw new Error('The embedded Postgres is installed, but this process cannot see it yet: run `convoy dev` again.');
  }
  terminal.done('Installed the embedded Postgres');
}

async function missingIn(folder: string): Promise<BinariesMissing | null> {
  try {
    await findBinariesPackage(folder);
    return null;
  } catch (error) {
    if (error instanceof BinariesMissing) return error;
    throw error;
  }
}

/** Enter is yes; the end of the input is no. */
function askYes(question: string): Promise<boolean> {
  // Not in raw mode, in which Ctrl-C would be a key and not a signal.
  const lines = createInterface({ input: process.stdin, output: process.stdout, terminal: false });
  return new Promise((resolve) => {
    lines.once('close', () => resolve(false));
    lines.question(question, (answer) => {
      resolve(/^(y(es)?)?$/i.test(answer.trim()));
      lines.close();
    });
  });
}

function runCommand(command: string, folder: string): Promise<void> {
  return new Promise((resolve, reject) => {
    // In a shell, because on Windows package managers are scripts. The command consists of fixed words.
    const child = spawn(command, { cwd: folder, stdio: 'inherit', shell: true });
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`\`${command}\` ended with ${signal ?? `exit code ${code}`}.`));
    });
  });
}
