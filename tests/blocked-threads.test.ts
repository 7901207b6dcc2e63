/**
 * Functions that block their thread, or end it with an uncaught error: other calls go on, the log names the function,
 * and the process survives.
 */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, open as openFile, rm, writeFile } from 'node:fs/promises';
import inspector from 'node:inspector';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { createConvoyClient, makeActionRef, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { type Convoy, createConvoy, type EngineOptions } from '@avvos/convoy/node';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { addon } from './addon.js';
import { freshDatabaseUrl } from './app.js';
import { freePort } from './free-port.js';

type None = Record<string, never>;
const where = makeQueryRef<None, number>('where');
const list = makeQueryRef<None, string[]>('list');
const add = makeMutationRef<{ text: string }, string>('add');
/** Keeps its thread busy until a file exists. */
const compute = makeQueryRef<{ until: string }, number>('compute');

const program = new URL('./programs/blocking.mjs', import.meta.url);
/** Records the engine's log. */
const writeLog = vi.spyOn(addon, 'writeLog');
let closing: (() => Promise<unknown>)[];
/** Called after each line of the log, and each output of a child process. */
let onOutput = () => {};

beforeEach(() => {
  closing = [];
  writeLog.mockImplementation(() => onOutput());
});

afterEach(async () => {
  for (const close of closing.reverse()) await close();
  writeLog.mockReset();
});

async function open(options: Partial<EngineOptions> = {}): Promise<Convoy> {
  const convoy = await createConvoy({ program, databaseUrl: freshDatabaseUrl(), createDatabase: true, ...options });
  closing.push(() => convoy.close());
  return convoy;
}

/** Watches the list of notes; `seen` has each result in order. */
async function watchList(baseUrl: string) {
  const client = createConvoyClient({ baseUrl });
  closing.push(async () => client.close());
  const seen: string[][] = [];
  let onChange = () => {};
  client.watch(list, {}, ({ data }) => {
    if (data) seen.push(data);
    onChange();
  });
  const shows = async (texts: string[]) => {
    while (JSON.stringify(seen.at(-1)) !== JSON.stringify(texts)) {
      await new Promise<void>((resolve) => {
        onChange = resolve;
      });
    }
  };
  await shows([]);
  return { client, seen, shows };
}

const logText = () => writeLog.mock.calls.flat().join('\n');

/** Waits until `text` matches. */
async function untilMatches(pattern: RegExp, text: () => string = logText): Promise<void> {
  while (!pattern.test(text())) {
    await new Promise<void>((resolve) => {
      onOutput = resolve;
    });
  }
}

async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'convoy-blocked-'));
  closing.push(() => rm(folder, { recursive: true }));
  return folder;
}

describe('a function that blocks its thread', () => {
  it.each([
    { name: 'loop', endsByTimeout: false },
    { name: 'loopLater', endsByTimeout: false },
    { name: 'regex', endsByTimeout: true },
  ])('by $name delays no other call, and is named in the log', async ({ name, endsByTimeout }) => {
    const convoy = await open(endsByTimeout ? {} : { limits: { queryMs: 60_000 } });
    const until = path.join(await temporaryFolder(), 'until');
    const block = () =>
      convoy
        .query(makeQueryRef<object, null>(name), endsByTimeout ? {} : { until })
        .catch((error: { code: string }) => error);
    const { port } = await convoy.listen({ port: 0 });
    const stream = await watchList(`http://127.0.0.1:${port}`);
    const before = await convoy.query(where, {});
    const ended: string[] = [];
    const stuck = block();
    void stuck.then(() => ended.push(name));
    await untilMatches(new RegExp(`${name} has kept its thread busy since .* UTC. Another worker takes new calls`));
    const others = await Promise.all(Array.from({ length: 20 }, () => convoy.query(where, {})));
    expect(others.every((id) => id !== before)).toBe(true);
    await stream.client.mutation(add, { text: 'a' });
    await stream.shows(['a']);
    expect(ended).toEqual([]);
    // A second blocked thread does not use up the spare worker.
    const again = block();
    await stream.client.mutation(add, { text: 'b' });
    await stream.shows(['a', 'b']);
    expect(ended).toEqual([]);
    expect(stream.seen).toEqual([[], ['a'], ['a', 'b']]);
    if (!endsByTimeout) await writeFile(until, '');
    for (const end of [await stuck, await again]) expect(end?.code).toBe(endsByTimeout ? 'TIMEOUT' : undefined);
  });

  it('has its worker replaced when a call there has timed out, and the calls queued there return', async () => {
    const convoy = await open({ limits: { queryMs: 3_000, workerUnresponsiveMs: 500 } });
    const before = await convoy.query(where, {});
    const marker = path.join(await temporaryFolder(), 'begun');
    const loop = makeQueryRef<{ marker: string }, null>('loop');
    const stuck = convoy.query(loop, { marker }).catch((error: { code: string }) => error);
    while (!existsSync(marker)) await new Promise((resolve) => setImmediate(resolve));
    // Sent to the blocked thread before it was detected as blocked.
    const queued = await Promise.all(Array.from({ length: 20 }, () => convoy.query(where, {})));
    expect(queued.every((id) => id !== before)).toBe(true);
    expect(await stuck).toMatchObject({ code: 'TIMEOUT' });
    await untilMatches(/another takes its place. It has not answered since a call took too long there: loop has kept/);
    expect(await convoy.query(where, {})).toBe(queued[0]);
  });

  it('and returns has its worker used again, alone, so that module state stays in one place', async () => {
    const convoy = await open();
    const until = path.join(tmpdir(), `convoy-computed-${randomUUID()}`);
    const computing = convoy.query(compute, { until });
    const others = await Promise.all(Array.from({ length: 4 }, () => convoy.query(where, {})));
    await writeFile(until, '');
    const first = await computing;
    await rm(until);
    expect(others).not.toContain(first);
    // The spare worker ends once the other one responds again.
    while ((await convoy.query(where, {})) !== first);
    const after = await Promise.all(Array.from({ length: 20 }, () => convoy.query(where, {})));
    expect(new Set(after)).toEqual(new Set([first]));
  });

  it('is not replaced where a debugger may have stopped it', async () => {
    inspector.open(0);
    closing.push(async () => inspector.close());
    const convoy = await open({ limits: { queryMs: 1_500, workerUnresponsiveMs: 200 } });
    await expect(convoy.query(makeQueryRef<None, null>('loop'), {})).rejects.toMatchObject({ code: 'TIMEOUT' });
    await untilMatches(/It is left alone, since the process is open to debuggers/);
    expect(logText()).not.toMatch(/takes/);
    inspector.close();
    await untilMatches(/another takes its place/);
    expect(await convoy.query(where, {})).toBeGreaterThan(0);
  });
});

describe('an error in code that a function started', () => {
  it.each([
    ['throwLater', /An uncaught error in a callback started by throwLater: .*an uncaught error/s],
    ['rejectLater', /An unhandled rejection of a promise started by rejectLater: .*an unhandled rejection/s],
  ])('(%s) ends only its thread, and is named in the log', async (name, words) => {
    const convoy = await open({ dev: true });
    const { port } = await convoy.listen({ port: 0 });
    const stream = await watchList(`http://127.0.0.1:${port}`);
    const call = stream.client.action(makeActionRef<None, null>(name), {});
    await expect(call).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await stream.client.mutation(add, { text: 'a' });
    await stream.shows(['a']);
    expect(logText()).toMatch(words);
  });
});

/** A child process and its output. */
class ChildServer {
  readonly process: ChildProcess;
  printed = '';
  readonly ended: Promise<unknown[]>;

  constructor(script: string, args: string[], env: Record<string, string> = {}, stdio: StdioOptions = 'pipe') {
    const file = fileURLToPath(new URL(`./programs/${script}`, import.meta.url));
    this.process = spawn(process.execPath, [file, ...args], { env: { ...process.env, ...env }, stdio });
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.printed += text;
        onOutput();
      });
    }
    this.ended = once(this.process, 'exit');
    closing.push(async () => {
      this.process.kill('SIGKILL');
      await this.ended;
    });
  }

  async address(): Promise<string> {
    await untilMatches(/listens on \S+\n/, () => this.printed);
    return (/listens on (\S+)/.exec(this.printed)?.[1] ?? '').replace('0.0.0.0', '127.0.0.1');
  }
}

/** `preload`: Node first imports a module, in each thread, that prints before Convoy is loaded. */
const startFile = async ({ fullDisk = false, preload = false } = {}): Promise<ChildServer> => {
  const databaseUrl = freshDatabaseUrl();
  await (await createConvoy({ program, databaseUrl, createDatabase: true })).close();
  const port = fullDisk ? await freePort() : 0;
  const printing = new URL('./programs/printing-first.mjs', import.meta.url);
  const env = {
    DATABASE_URL: databaseUrl,
    PORT: String(port),
    HOST: '127.0.0.1',
    ...(preload ? { NODE_OPTIONS: `--import=${printing.href}` } : {}),
  };
  if (!fullDisk) return new ChildServer('blocking-start.mjs', [], env);
  const full = await openFile('/dev/full', 'w');
  closing.push(() => full.close());
  const server = new ChildServer('blocking-start.mjs', [], env, ['ignore', full.fd, full.fd]);
  // It cannot print that it listens.
  while (!(await fetch(`http://127.0.0.1:${port}/api/health`).catch(() => null)));
  server.printed = `Convoy listens on http://127.0.0.1:${port}\n`;
  return server;
};

const call = (baseUrl: string, name: string, args: object = {}) =>
  createConvoyClient({ baseUrl }).query(makeQueryRef<object, unknown>(name), args);

describe('a process that Convoy started', () => {
  it('survives uncaught errors of functions', async () => {
    const server = await startFile();
    const baseUrl = await server.address();
    for (const name of ['throwLater', 'rejectLater']) {
      const left = createConvoyClient({ baseUrl }).action(makeActionRef<None, null>(name), {});
      await expect(left).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    }
    expect(await call(baseUrl, 'where')).toBeGreaterThan(0);
    server.process.kill('SIGTERM');
    expect(await server.ended).toEqual([0, null]);
  });

  it('survives when one thread after another ends', async () => {
    const server = await startFile();
    const baseUrl = await server.address();
    const client = createConvoyClient({ baseUrl });
    // The call is retried on other threads, and ends them all.
    await expect(call(baseUrl, 'exit')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    for (let n = 0; n < 4; n++) {
      const left = client.action(makeActionRef<None, null>('throwLater'), {});
      await expect(left).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    }
    expect(await call(baseUrl, 'where')).toBeGreaterThan(0);
    expect(server.process.exitCode).toBeNull();
    server.process.kill('SIGTERM');
    expect(await server.ended).toEqual([0, null]);
  });

  it('ends at once on the second signal', async () => {
    const server = await startFile();
    const looping = call(await server.address(), 'loop').catch(() => null);
    await untilMatches(/loop has kept its thread busy/, () => server.printed);
    const pressing = setInterval(() => server.process.kill('SIGINT'), 100);
    expect(await server.ended).toEqual([130, null]);
    clearInterval(pressing);
    await looping;
  });
});

describe('a value that is too large', () => {
  const resourceLimits = { maxOldGenerationSizeMb: 64 };

  it.each([
    ['large', { bytes: 200 << 20 }],
    ['large', { bytes: 17 << 20 }],
    ['many', { count: 2_000_000 }],
  ])('returned by %s %j fails with PAYLOAD_TOO_LARGE, also with little memory', async (name, args) => {
    const convoy = await open({ resourceLimits });
    const large = convoy.query(makeQueryRef<object, unknown>(name), args);
    await expect(large).rejects.toMatchObject({ code: 'PAYLOAD_TOO_LARGE' });
    expect(await convoy.query(where, {})).toBeGreaterThan(0);
  });

  it.each(['getter', 'toJSON', 'proxy'])(
    'from a %s that returns more on each read does not end the process',
    async (how) => {
      const convoy = await open({ resourceLimits });
      const grows = convoy.query(makeQueryRef<object, unknown>('grows'), { how, bytes: 300 << 20 });
      const ended = await grows.catch((error: { code: string }) => error.code);
      // Otherwise the value of the first read is sent.
      expect(['PAYLOAD_TOO_LARGE', { a: 1 }, 1]).toContainEqual(ended);
      expect(await convoy.query(where, {})).toBeGreaterThan(0);
    },
  );

  it('is larger than the limit, and not equal to it', async () => {
    const convoy = await open({ limits: { resultBytes: 40 << 20 } });
    const args = { bytes: (40 << 20) - 4 };
    const [text] = (await convoy.query(makeQueryRef<object, string[]>('large'), args)) ?? [];
    expect(text?.length).toBe(args.bytes);
    const larger = convoy.query(makeQueryRef<object, string[]>('large'), { bytes: args.bytes + 1 });
    await expect(larger).rejects.toMatchObject({ code: 'PAYLOAD_TOO_LARGE' });
  });

  it.each(['insert', 'raw', 'details', 'argument'])('as %s of an operation fails only the call', async (how) => {
    const convoy = await open({ resourceLimits });
    const call = convoy.mutation(makeMutationRef<object, unknown>('sendsLarge'), { how, bytes: 200 << 20 });
    await expect(call).rejects.toMatchObject({ code: how === 'details' ? 'INTERNAL' : 'PAYLOAD_TOO_LARGE' });
    expect(await convoy.query(where, {})).toBeGreaterThan(0);
  });

  it('read from the database fails only the call', async () => {
    const convoy = await open({ resourceLimits, limits: { queryMs: 60_000 } });
    const reads = makeQueryRef<object, number>('reads');
    await expect(convoy.query(reads, { bytes: 200 << 20 })).rejects.toMatchObject({ code: 'PAYLOAD_TOO_LARGE' });
    expect(await convoy.query(where, {})).toBeGreaterThan(0);
    // With enough memory, a batch of results has no limit.
    const roomy = await open();
    expect(await roomy.query(reads, { bytes: 20 << 20 })).toBe(20 << 20);
  });

  it('as the message of an error is truncated, and the call fails at once', async () => {
    const convoy = await open();
    const call = convoy.query(makeQueryRef<object, unknown>('throwsLarge'), { bytes: 50 << 20 });
    await expect(call).rejects.toMatchObject({ code: 'INTERNAL' });
  });
});

describe('output', () => {
  const prints = async (baseUrl: string) => {
    for (let n = 0; n < 20; n++) expect(await call(baseUrl, 'print', { bytes: 100_000 })).toBe(100_000);
  };

  describe.each([{ preload: false }, { preload: true }])('with %j', (options) => {
    it('to pipes that are not drained blocks no call, and the process still ends', async () => {
      const server = await startFile(options);
      const baseUrl = await server.address();
      server.process.stdout?.removeAllListeners('data').pause();
      server.process.stderr?.removeAllListeners('data').pause();
      await prints(baseUrl);
      server.process.kill('SIGTERM');
      expect(await server.ended).toEqual([0, null]);
    });

    it('to closed pipes does not end the process', async () => {
      const server = await startFile(options);
      const baseUrl = await server.address();
      server.process.stdout?.destroy();
      server.process.stderr?.destroy();
      await prints(baseUrl);
      server.process.kill('SIGTERM');
      expect(await server.ended).toEqual([0, null]);
    });

    it('to a full disk does not end the process', async () => {
      const server = await startFile({ ...options, fullDisk: true });
      const baseUrl = await server.address();
      await prints(baseUrl);
      server.process.kill('SIGTERM');
      expect(await server.ended).toEqual([0, null]);
    });

    it('is complete', async () => {
      const server = await startFile(options);
      await prints(await server.address());
      server.process.kill('SIGTERM');
      await server.ended;
      // One truncated line for each print to either stream.
      expect(server.printed.match(/^[xy]{1000,} … \(\d+ more bytes were cut\)$/gm)).toHaveLength(40);
      expect(server.printed).not.toMatch(/a worker ended/);
    });
  });
});

it('a program whose stderr is a full disk survives the log of an ended worker', async () => {
  const full = await openFile('/dev/full', 'w');
  closing.push(() => full.close());
  const server = new ChildServer('blocking-own.mjs', [freshDatabaseUrl()], {}, ['ignore', 'pipe', full.fd]);
  const baseUrl = await server.address();
  await expect(call(baseUrl, 'exit')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  expect(await call(baseUrl, 'where')).toBeGreaterThan(0);
});

describe('where functions run in the thread that opened the engine', () => {
  const limits = JSON.stringify({ queryMs: 1_000, workerUnresponsiveMs: 1_000 });

  // The control: without workers, the failures that the tests above rule out occur, and are reported.
  it.each(['values', 'no workers'])(
    '(%s) a function that loops blocks all others; health and log report it',
    async (how) => {
      const server = new ChildServer('blocking-inline.mjs', [freshDatabaseUrl(), how, limits]);
      const baseUrl = await server.address();
      const health = async () => (await fetch(`${baseUrl}/api/health`)).status;
      expect(await health()).toBe(200);
      const looping = call(baseUrl, 'loop').catch((error: unknown) => error);
      await untilMatches(/loop has kept its thread busy since/, () => server.printed);
      await expect(call(baseUrl, 'where')).rejects.toMatchObject({ code: 'TIMEOUT' });
      expect(await looping).toMatchObject({ code: 'TIMEOUT' });
      while ((await health()) !== 503);
      await expect(call(baseUrl, 'where')).rejects.toMatchObject({ code: 'TIMEOUT' });
    },
  );
});
