/** Runs a program and collects what it prints. Rejects with its output when it fails. */
import { spawn } from 'node:child_process';

/** The last part of the output, which is where programs say what went wrong. */
const KEPT_CHARACTERS = 8_000;

export class CommandFailed extends Error {
  override readonly name = 'CommandFailed';

  constructor(
    command: string,
    readonly reason: string,
    readonly output: string,
  ) {
    super(`${command} failed: ${reason}`);
  }
}

export async function runCommand(command: string, args: readonly string[], cwd: string): Promise<string> {
  const line = [command, ...args].join(' ');
  return new Promise((resolve, reject) => {
    // Package managers are `.cmd` files on Windows, which only a shell runs. No argument comes from the user.
    const shell = process.platform === 'win32';
    const child = spawn(command, args, { cwd, shell, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    const collect = (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-KEPT_CHARACTERS);
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    child.once('error', (error) => reject(new CommandFailed(line, error.message, output)));
    child.once('close', (code, signal) => {
      if (code === 0) resolve(output);
      else reject(new CommandFailed(line, signal ?? `exit code ${code}`, output));
    });
  });
}
