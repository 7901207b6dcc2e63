/** The log of a `raw` statement that Postgres refuses. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, it } from 'vitest';
import { freshDatabaseUrl, post } from './app.js';

it('has the message and code of Postgres, but no line of its source', async () => {
  const program = new URL('./programs/logs.mjs', import.meta.url).pathname;
  const env = { ...process.env, DATABASE_URL: freshDatabaseUrl() };
  const child = spawn(process.execPath, [program], { env, stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
  let log = '';
  child.stderr?.setEncoding('utf8').on('data', (text) => {
    log += text;
  });
  const [{ port }] = (await once(child, 'message')) as [{ port: number }];
  await post(`http://127.0.0.1:${port}`, 'query/raw', JSON.stringify({ text: 'show work_mem' }));
  while (!/cause=.*\n/.test(log)) await once(child.stderr as NonNullable<typeof child.stderr>, 'data');
  const exited = once(child, 'exit');
  child.disconnect();
  await exited;
  expect(log).toMatch(/context="raw" cause=syntax error at or near "show" \(42601\)$/m);
  expect(log).not.toContain('at line');
});
