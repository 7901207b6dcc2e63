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
import { isAlive, lookAtProcess } from './processes.js';

const here = path.dirname(fileURLToPath(import.meta.url));

/** Remembers events and lets a test wait for the next one of a kind. */
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

async function ask(url: string, sql: string): Promise<unknown[]> {
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

  /** The same source, as a program of its own that can be killed. */
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
    // mkdtemp's folders are closed, and as root Postgres runs as another user.
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

  /** Processes that are not our children give no event when they end. */
  async function untilDead(pid: number): Promise<void> {
    while (isAlive(pid)) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  /** The same of processes that may stay behind as zombies, because their parent was killed too. */
  async function untilEnded(pid: number): Promise<void> {
    while ((await lookAtProcess(pid)) !== null) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  it('keeps data, port and password from one start to the next, and the password to itself', async () => {
    const first = await start();
    await ask(first.url, 'create table kept as select 7 as n');
    await first.stop();
    expect(first.pid).toBe(0);
    const second = await start();
    expect(second.url).toBe(first.url);
    expect(await ask(second.url, 'select n from kept')).toEqual([7]);
    expect((await stat(path.join(second.folder, 'state.json'))).mode & 0o777).toBe(0o600);
    const wrong = second.url.replace(/:[^:@]+@/, ':wrong@');
    await expect(ask(wrong, 'select 1')).rejects.toThrow(/password authentication failed/);
  });

  it('orders text by code point in UTF-8, and stores durably unless told otherwise', async () => {
    const postgres = await startEmbeddedPostgres({ dataRoot: path.join(project, '.convoy') });
    started.push(postgres);
    const sql = `select current_setting('server_encoding'), 'a' < 'B', upper('ä'), current_setting('fsync')`;
    expect(await ask(postgres.url, sql)).toEqual(['UTF8', false, 'Ä', 'on']);
  });

  it('is made once when two start at once, and survives the one that owns it', async () => {
    const events = [new Events(), new Events()];
    const both = await Promise.all(events.map((each) => start(each)));
    expect(both[0]?.url).toBe(both[1]?.url);
    const ownerIndex = both.findIndex((each) => !each.shared);
    const [owner, other] = [both[ownerIndex], both[1 - ownerIndex]];
    const othersEvents = events[1 - ownerIndex];
    if (!owner || !other || !othersEvents) throw new Error('one of the two must own it');
    expect(other.shared).toBe(true);
    const before = othersEvents.seen.length;
    await owner.stop();
    await othersEvents.next('ready', before);
    expect(other.shared).toBe(false);
    expect(await ask(other.url, 'select 1')).toEqual([1]);
  });

  it('leaves a shared Postgres running when the one who only shares it stops', async () => {
    const owner = await start();
    const other = await start();
    await other.stop();
    expect(await ask(owner.url, 'select 1')).toEqual([1]);
  });

  it('runs for two projects side by side', async () => {
    const [one, two] = await Promise.all(['one', 'two'].map((name) => start(new Events(), path.join(project, name))));
    expect(one?.port).not.toBe(two?.port);
    expect(await ask(one?.url ?? '', 'select 1')).toEqual(await ask(two?.url ?? '', 'select 1'));
  });

  it('moves when another program has taken its port', async () => {
    const first = await start();
    await first.stop();
    const squatter = createServer().listen(first.port, '127.0.0.1');
    await once(squatter, 'listening');
    const events = new Events();
    const second = await start(events);
    expect(events.seen).toContainEqual({ kind: 'moved', from: first.port, to: second.port });
    expect(await ask(second.url, 'select 1')).toEqual([1]);
    squatter.close();
  });

  it('says so and starts again on the same address when Postgres is killed', async () => {
    const events = new Events();
    const postgres = await start(events);
    const { url, pid } = postgres;
    await ask(url, 'create table kept as select 7 as n');
    process.kill(pid, 'SIGKILL');
    const exited = await events.next('exited');
    expect(events.seen[exited - 1]).toMatchObject({ pid, detail: expect.stringContaining('SIGKILL') });
    await events.next('ready', exited);
    expect(events.seen.map(({ kind }) => kind)).toContain('recovering');
    expect(postgres.url).toBe(url);
    expect(await ask(url, 'select n from kept')).toEqual([7]);
  });

  it('does not outlive a killed parent', async () => {
    const { child, pid } = await startInChild('kept');
    child.kill('SIGKILL');
    await untilDead(pid);
    const events = new Events();
    await start(events);
    expect(events.seen.map(({ kind }) => kind)).not.toContain('recovering');
  });

  it.skipIf(process.platform !== 'linux')('clears away a Postgres whose parent and guardian were killed', async () => {
    const { child, pid, url } = await startInChild('kept');
    const guardian = (await lookAtProcess(pid))?.parent ?? 0;
    // The guardian is two processes, and each of them alone would still stop Postgres.
    const children = await readFile(`/proc/${guardian}/task/${guardian}/children`, 'utf8');
    const watcher =
      children
        .trim()
        .split(' ')
        .map(Number)
        .find((each) => each !== pid) ?? 0;
    const killed = [watcher, guardian, child.pid ?? 0];
    for (const each of killed) process.kill(each, 'SIGKILL');
    // A killed process ends when it is next scheduled. While the guardian has not, Postgres counts as guarded, and is
    // rightly shared.
    for (const each of killed) await untilEnded(each);
    const events = new Events();
    const postgres = await start(events);
    // Its members are compared, not the object: a difference is printed by reading the getters of its prototype.
    expect({ url: postgres.url, shared: postgres.shared }).toEqual({ url, shared: false });
    expect(events.seen).toContainEqual({ kind: 'clearing', pid });
    expect(await ask(postgres.url, 'select 1')).toEqual([1]);
  });

  it('starts over a pid file that names an unrelated process, and leaves that process alone', async () => {
    const first = await start();
    await first.stop();
    const bystander = spawn('sleep', ['60']);
    children.push(bystander);
    const lines = [bystander.pid, 'x', 1, first.port, '', '127.0.0.1', ' 1 2', 'ready'];
    await writeFile(path.join(first.folder, 'data/postmaster.pid'), `${lines.join('\n')}\n`);
    const second = await start();
    expect(await ask(second.url, 'select 1')).toEqual([1]);
    expect(bystander.signalCode).toBeNull();
  });

  it('leaves nothing of a throw-away one, stopped or killed', async () => {
    const stopped = await startThrowAwayPostgres({ settings: { max_connections: '17' } });
    expect(await ask(stopped.url, `select current_setting('max_connections'), current_setting('fsync')`)).toEqual([
      '17',
      'off',
    ]);
    await stopped.stop();
    expect(existsSync(stopped.folder)).toBe(false);

    const { child, pid, folder } = await startInChild('thrown away');
    child.kill('SIGKILL');
    await untilDead(pid);
    while (existsSync(folder)) await new Promise((resolve) => setTimeout(resolve, 10));
  });
});
