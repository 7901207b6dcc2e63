/**
 * Acceptance 20, in JavaScript: each exported function of the addon panics, in the call and in the promise that it
 * returns, and so does the delivery of a call. Nothing ends the process; each panic becomes an error.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { freshDatabaseUrl } from './app.js';

interface Panicked {
  readonly results: readonly {
    readonly name: string;
    readonly thrown: string | null;
    readonly rejected?: string | null;
  }[];
  readonly delivered: string;
  readonly afterwards: number;
}

async function run(...args: string[]) {
  const program = fileURLToPath(new URL('./programs/panics.mjs', import.meta.url));
  const child = spawn(process.execPath, [program, freshDatabaseUrl(), ...args], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  let [log, answer] = ['', null as Panicked | null];
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (log += text));
  child.on('message', (message) => {
    answer = message as Panicked;
  });
  const end = await once(child, 'exit');
  return { end, log, answer: answer as Panicked | null };
}

test('a panic in any exported function becomes an error', async () => {
  const { end, log, answer } = await run();
  expect(end, log).toEqual([0, null]);
  const { results = [], delivered, afterwards } = answer ?? {};
  console.log(
    `${results.length} exported functions, ${results.filter(({ rejected }) => rejected).length} with a promise; ` +
      `a delivery that panics: ${delivered}`,
  );
  expect(results.length).toBeGreaterThan(60);
  for (const { name, thrown, rejected } of results) {
    expect(thrown, name).toMatch(/armed to panic/);
    if (rejected !== undefined) expect(rejected, name).toMatch(/"code":"INTERNAL"/);
  }
  expect(results.filter(({ rejected }) => rejected).length).toBeGreaterThan(20);
  expect(afterwards).toBe(1);
});

test('control: a panic that is not caught is detected', async () => {
  const { end, answer } = await run('uncaught');
  expect(end[1]).toBe('SIGABRT');
  expect(answer).toBeNull();
});
