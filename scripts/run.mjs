// Runs one step of a script: prints its title and duration, and ends the script when
// it fails.
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Where cargo builds. */
export const targetFolder = process.env.CARGO_TARGET_DIR ?? join(root, 'target');

/**
 * @param {string} title printed before the step
 * @param {string} command
 * @param {string[]} args
 * @param {{ env?: Record<string, string>, cwd?: string, onOutput?: (text: string) => void }} [options] `onOutput` gets
 *   what the command prints, which is printed as well
 */
export async function run(title, command, args, { env, cwd = root, onOutput } = {}) {
  console.log(`\n▸ ${title}`);
  const started = performance.now();
  const stdio = ['inherit', onOutput === undefined ? 'inherit' : 'pipe', 'inherit'];
  const child = spawn(command, args, { cwd, stdio, env: { ...process.env, ...env } });
  child.stdout?.setEncoding('utf8').on('data', (text) => {
    process.stdout.write(text);
    onOutput?.(text);
  });
  let stopped = false;
  const stop = (signal) => {
    stopped = true;
    child.kill(signal);
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  try {
    await new Promise((resolve, reject) => {
      child.once('error', (error) => {
        const missing = error.code === 'ENOENT';
        reject(
          new StepError(missing ? `\`${command}\` is not installed. ${hint(command)}` : `${command}: ${error.message}`),
        );
      });
      child.once('close', (code, signal) => {
        if (code === 0) resolve(undefined);
        // A step that was stopped with Ctrl-C needs no error message.
        else if (stopped) process.exit(130);
        else reject(new StepError(`${title}: ${command} ended with ${signal ?? `exit code ${code}`}`));
      });
    });
  } finally {
    process.off('SIGINT', stop);
    process.off('SIGTERM', stop);
  }
  console.log(`  done in ${((performance.now() - started) / 1000).toFixed(1)} s`);
}

/** A failed step. Its output has the reason, so no stack is printed. */
export class StepError extends Error {
  name = 'StepError';
}

process.on('uncaughtException', (error) => {
  console.error(error instanceof StepError ? `\n✗ ${error.message}` : error);
  process.exit(1);
});

function hint(command) {
  return command === 'cargo' ? 'Install Rust from https://rustup.rs, then run this again.' : '';
}
