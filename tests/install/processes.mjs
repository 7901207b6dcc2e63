/** Programs that a test runs to their end, or keeps running. */
import { spawn } from 'node:child_process';

/**
 * Runs a program; resolves to its exit code and all of its output.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd: string, env?: Record<string, string | undefined>, shell?: boolean, uid?: number, gid?: number }} options
 * @returns {Promise<{ code: number | null, output: string }>}
 */
export function runToEnd(command, args, { cwd, env = process.env, shell = false, uid, gid }) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env, shell, uid, gid, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        output += text;
      });
    }
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, output }));
  });
}

/** Starts a program and resolves when its output matches; rejects with the output if it ends first. */
export function startUntil(pattern, command, args, { cwd, env = process.env }) {
  const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise((resolve) => child.once('close', resolve));
  const stop = async () => {
    child.kill();
    await ended;
  };
  let output = '';
  return new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        output += text;
        const match = pattern.exec(output);
        if (match) resolve({ stop, match });
      });
    }
    child.once('error', reject);
    child.once('close', () => reject(new Error(`${command} ended before it printed ${pattern}:\n${output}`)));
  });
}
