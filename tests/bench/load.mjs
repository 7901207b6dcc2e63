// The load generator, seen from the benchmark.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** @typedef {(word: string) => Promise<string | void>} OnWord */

/**
 * Runs one plan. Each word the generator says is passed on, and a line sent back
 * when that is done, with what came of it; gives its measurements.
 *
 * @param {string} generator its executable
 * @param {object} plan
 * @param {OnWord} onWord
 */
export async function runLoad(generator, plan, onWord) {
  const child = spawn(generator, { stdio: ['pipe', 'pipe', 'inherit'] });
  const stop = () => child.kill();
  process.once('exit', stop);
  const exited = once(child, 'exit');
  // It may end before it has read everything; its exit code tells.
  child.stdin.on('error', () => undefined);
  child.stdin.write(`${JSON.stringify(plan)}\n`);
  let measured;
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.startsWith('{')) {
      measured = JSON.parse(line);
    } else {
      child.stdin.write(`${(await onWord(line)) ?? ''}\n`);
    }
  }
  const [code, signal] = await exited;
  process.off('exit', stop);
  if (code !== 0 || measured === undefined) {
    throw new Error(`The load generator ended with ${signal ?? `exit code ${code}`}.`);
  }
  return measured;
}
