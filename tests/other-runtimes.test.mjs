/** The package in Bun and Deno: calls, web requests and live queries, in a process of theirs. Node is the control. */
import path from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { freshDatabaseUrl } from './app.ts';
import { runToEnd } from './install/processes.mjs';
import { bunIn, denoIn, installTools } from './install/tools.mjs';

const RUNTIMES = {
  Node: () => [process.execPath],
  Bun: (tools) => [bunIn(tools)],
  Deno: (tools) => [denoIn(tools), 'run', '--allow-all', '--no-prompt', '--node-modules-dir=manual'],
};

// Bun and Deno are 200 MB.
describe.skipIf(process.env.CONVOY_TEST_LONG !== '1')('the package', { timeout: 300_000 }, () => {
  let tools;

  beforeAll(async () => {
    tools = await installTools();
  }, 300_000);

  test.each(Object.keys(RUNTIMES))('answers calls, and keeps queries live, in %s', async (name) => {
    const [program, ...words] = RUNTIMES[name](tools);
    const script = path.join(import.meta.dirname, 'programs/other-runtime.mjs');
    const env = { ...process.env, DATABASE_URL: freshDatabaseUrl() };
    const { code, output } = await runToEnd(program, [...words, script], { cwd: import.meta.dirname, env });
    // Without the log of the engine.
    const lines = output
      .trim()
      .split('\n')
      .filter((line) => !/ INFO /.test(line));
    expect(lines).toEqual([
      `in ${name}`,
      'in process ["in process"]',
      'by request {"ok":true,"data":["in process","by request"]}',
      'live [2,3]',
      'closed',
    ]);
    expect(code).toBe(0);
  });
});
