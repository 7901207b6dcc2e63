// Runs the load generator.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** @typedef {(phase: string) => Promise<string | void>} OnPhase */

/**
 * Runs one plan. Calls `onPhase` with each phase that the generator prints, and then sends
 * the result back as a line, on which the generator waits. Returns its measurements.
 *
 * @param {string} generator its executable
 * @param {object} plan
 * @param {OnPhase} onPhase
 */
export async function runLoad(generator, plan, onPhase) {
  const child = spawn(generator, { stdio: ['pipe', 'pipe', 'inherit'] });
  const stop = () => child.kill();
  process.once('exit', stop);
  const exited = once(child, 'exit');
  // The generator may end before it has read its input; its exit code has the result.
  child.stdin.on('error', () => undefined);
  child.stdin.write(`${JSON.stringify(plan)}\n`);
  let measured;
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.startsWith('{')) {
      measured = JSON.parse(line);
    } else {
      child.stdin.write(`${(await onPhase(line)) ?? ''}\n`);
    }
  }
  const [code, signal] = await exited;
  process.off('exit', stop);
  if (code !== 0 || measured === undefined) {
    throw new Error(`The load generator ended with ${signal ?? `exit code ${code}`}.`);
  }
  return measured;
}
