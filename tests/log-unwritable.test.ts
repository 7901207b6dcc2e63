/** A log that cannot be written: calls still succeed, and live queries survive a restart of Postgres. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createConvoyClient } from '@avvos/convoy/client';
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { EmbeddedPostgres } from '../js/convoy/dist/cli/postgres/index.js';
import { freshDatabaseUrl } from './app.js';
import { add, watchNotes } from './notes.js';
import { startOwnPostgres } from './own-postgres.js';

let folder: string;
let postgres: EmbeddedPostgres;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'convoy-log-'));
  postgres = await startOwnPostgres();
});

afterAll(async () => {
  await postgres.stop();
  await rm(folder, { recursive: true, force: true });
});

/** Starts a server with `output` as its standard output and its standard error. */
async function serve(output: number, databaseUrl: string): Promise<{ child: ChildProcess; baseUrl: string }> {
  const program = new URL('./programs/logs.mjs', import.meta.url).pathname;
  const env = { ...process.env, DATABASE_URL: databaseUrl };
  const child = spawn(process.execPath, [program], { env, stdio: ['ignore', output, output, 'ipc'] });
  const [{ port }] = (await once(child, 'message')) as [{ port: number }];
  return { child, baseUrl: `http://127.0.0.1:${port}` };
}

async function end(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit');
  child.disconnect();
  expect((await exited)[0]).toBe(0);
}

async function fail(baseUrl: string, size: number): Promise<string> {
  const body = JSON.stringify({ size });
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(`${baseUrl}/api/mutation/fail`, { method: 'POST', headers, body });
  const { error } = (await answer.json()) as { error: { code: string; errorId: string } };
  expect([answer.status, error.code]).toEqual([500, 'INTERNAL']);
  return error.errorId;
}

async function restartPostgres(baseUrl: string): Promise<void> {
  const killed = postgres.pid;
  process.kill(killed, 'SIGKILL');
  const client = createConvoyClient({ baseUrl });
  for (let call = 0; ; call++) {
    const sent = await client.mutation(add, { text: `around ${call}` }).then(
      () => true,
      () => false,
    );
    if (sent && postgres.pid !== killed && postgres.pid !== 0) break;
  }
  client.close();
}

/** Checks calls that fail, a restart of Postgres, and a write by SQL, all while the log cannot be written. */
async function checkServing(baseUrl: string, databaseUrl: string): Promise<void> {
  const before = watchNotes(baseUrl);
  await before.client.mutation(add, { text: 'first' });
  await before.until('first');
  for (let call = 0; call < 40; call++) await fail(baseUrl, 20_000);
  await restartPostgres(baseUrl);
  const psql = new pg.Client({ connectionString: databaseUrl });
  await psql.connect();
  await psql.query(`insert into notes (data) values ('{"text": "by hand"}')`);
  await psql.end();
  const after = watchNotes(baseUrl);
  await Promise.all([before.until('by hand'), after.until('by hand')]);
  await fail(baseUrl, 10);
  expect((await fetch(`${baseUrl}/api/health`)).status).toBe(200);
  before.client.close();
  after.client.close();
}

it('a log on a full disk fails no call', async () => {
  const full = openSync('/dev/full', 'w');
  expect(() => writeSync(full, 'x')).toThrow(/ENOSPC/);
  const { child, baseUrl } = await serve(full, postgres.url);
  await checkServing(baseUrl, postgres.url);
  await end(child);
  closeSync(full);
});

it('a full log pipe blocks no call, and carries the log once it is drained', async () => {
  const fifo = join(folder, 'log');
  execFileSync('mkfifo', [fifo]);
  // Two file descriptions of one pipe: the test's is non-blocking, the server's would block.
  const ours = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
  const theirs = openSync(fifo, 'w');
  const fill = () => {
    for (;;) writeSync(ours, 'x');
  };
  expect(fill).toThrow(/EAGAIN/);
  const { child, baseUrl } = await serve(theirs, postgres.url);
  await checkServing(baseUrl, postgres.url);
  expect(fill, 'the pipe is still full').toThrow(/EAGAIN/);
  const errorId = await fail(baseUrl, 10);
  let log = '';
  const drain = () => {
    const buffer = Buffer.alloc(65_536);
    try {
      for (;;) log += buffer.toString('latin1', 0, readSync(ours, buffer));
    } catch (error) {
      expect(error).toMatchObject({ code: 'EAGAIN' });
    }
  };
  while (!log.includes(errorId)) {
    drain();
    await new Promise(setImmediate);
  }
  await end(child);
  closeSync(ours);
  closeSync(theirs);
});

it('an error of 50 MB is truncated before it is logged', async () => {
  const databaseUrl = freshDatabaseUrl();
  const fifo = join(folder, 'long');
  execFileSync('mkfifo', [fifo]);
  const ours = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
  const { child, baseUrl } = await serve(ours, databaseUrl);
  const errorId = await fail(baseUrl, 50 << 20);
  const log = Buffer.alloc(100_000).fill(' ');
  let length = 0;
  while (!log.includes('were cut')) {
    try {
      length += readSync(ours, log, length, log.length - length, null);
    } catch (error) {
      expect(error).toMatchObject({ code: 'EAGAIN' });
      await new Promise(setImmediate);
    }
  }
  expect(log.toString('latin1')).toContain(errorId);
  expect(length).toBeLessThan(40_000);
  await end(child);
  closeSync(ours);
});
