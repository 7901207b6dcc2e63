/** Convoy's own tables truncated or dropped under a running server: a warning is logged, and calls still work. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import pg from 'pg';
import { afterEach, beforeEach, it } from 'vitest';
import { freshDatabaseUrl } from './app.js';
import { add, watchNotes } from './notes.js';

let child: ChildProcess;
let baseUrl: string;
let psql: pg.Client;
let log: string;

beforeEach(async () => {
  const databaseUrl = freshDatabaseUrl();
  const program = new URL('./programs/logs.mjs', import.meta.url).pathname;
  const env = { ...process.env, DATABASE_URL: databaseUrl };
  child = spawn(process.execPath, [program], { env, stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
  log = '';
  child.stderr?.setEncoding('utf8').on('data', (text) => {
    log += text;
  });
  const [{ port }] = (await once(child, 'message')) as [{ port: number }];
  baseUrl = `http://127.0.0.1:${port}`;
  psql = new pg.Client({ connectionString: databaseUrl });
  await psql.connect();
});

afterEach(async () => {
  const exited = once(child, 'exit');
  child.disconnect();
  await exited;
  await psql.end();
});

async function logged(what: string): Promise<void> {
  while (!log.includes(what)) await once(child.stderr as NonNullable<typeof child.stderr>, 'data');
}

it.each([
  'truncate _convoy.idempotency',
  'delete from _convoy.idempotency',
  'truncate _convoy.changes, _convoy.epoch, _convoy.idempotency',
  'drop schema _convoy cascade',
])('%s is logged, and loses only the stored results of mutations', async (statement) => {
  const { client, until } = watchNotes(baseUrl);
  await client.mutation(add, { text: 'before' });
  await until('before');
  await psql.query(`begin; insert into notes (data) values ('{"text": "by hand"}'); ${statement}; commit`);
  await until('by hand');
  await logged('may run twice');
  // Calls succeed again when that is logged, or shortly afterwards.
  while (
    !(await client.mutation(add, { text: 'after' }).then(
      () => true,
      () => false,
    ))
  );
  await until('after');
  await psql.query(`insert into notes (data) values ('{"text": "by hand again"}')`);
  await until('by hand again');
  // A run for the last mutation may have read that row before the change log was readable again.
  while ((await fetch(`${baseUrl}/api/ready`)).status !== 200);
  client.close();
});
