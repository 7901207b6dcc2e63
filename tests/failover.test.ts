/**
 * A standby takes the place of its primary, behind an address that stays, while a server process runs mutations of
 * JavaScript and a client watches a live query. Calls fail with UNAVAILABLE and with nothing else until the standby is
 * promoted, nothing acknowledged is lost, and the live query shows what is stored.
 */
import { createConvoyClient, makeQueryRef } from '@avvos/convoy/client';
import { afterEach, expect, test } from 'vitest';
import { startOwnPostgres } from './own-postgres.js';
import { RecordingProxy } from './recording-proxy.js';
import { ServerProcess } from './server-process.js';
import { Standby, sqlAt, untilTrue } from './standby.js';

const WRITERS = 6;
const count = makeQueryRef<Record<never, never>, number>('count');

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** A live query of the number of notes. */
function watch(baseUrl: string) {
  let shown = -1;
  let onShown = () => {};
  const client = createConvoyClient({ baseUrl });
  closing.push(() => client.close());
  client.watch(count, {}, ({ data }) => {
    if (data !== null) shown = data;
    onShown();
  });
  return async (condition: (shown: number) => boolean): Promise<void> => {
    while (!condition(shown)) {
      await new Promise<void>((resolve) => {
        onShown = resolve;
      });
    }
  };
}

/** Mutations that writers call one after another, without the retries of a client. */
class Load {
  readonly acknowledged: number[] = [];
  /** The codes of errors, with their numbers. */
  readonly codes: Record<string, number> = {};
  readonly #writers: Promise<void>[];
  #next = 0;
  #isOver = false;
  #onAnswer = new Set<() => void>();

  constructor(baseUrl: string) {
    this.#writers = Array.from({ length: WRITERS }, async () => {
      while (!this.#isOver) await this.#add(baseUrl);
    });
  }

  async #add(baseUrl: string): Promise<void> {
    const n = this.#next++;
    const response = await fetch(`${baseUrl}/api/mutation/add`, {
      method: 'POST',
      body: JSON.stringify({ n, ms: 0 }),
    });
    const { ok, error } = (await response.json()) as { ok: boolean; error?: { code: string } };
    if (ok) this.acknowledged.push(n);
    else this.codes[error?.code ?? ''] = (this.codes[error?.code ?? ''] ?? 0) + 1;
    for (const wake of this.#onAnswer) wake();
    this.#onAnswer.clear();
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#onAnswer.add(resolve));
  }

  /** Waits for so many more acknowledged calls. */
  more(calls: number): Promise<void> {
    const wanted = this.acknowledged.length + calls;
    return this.until(() => this.acknowledged.length >= wanted);
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#writers);
  }
}

/** `receives`: whether the standby receives all commits, and the primary waits for it. */
async function failOver({ receives }: { readonly receives: boolean }) {
  const primary = await startOwnPostgres();
  closing.push(() => primary.stop());
  const standby = await Standby.of(primary);
  closing.push(() => standby.stop());
  if (receives) {
    await sqlAt(primary.url, `alter system set synchronous_standby_names = 'standby'`, 'select pg_reload_conf()');
    await untilTrue(primary.url, `exists (select from pg_stat_replication where sync_state = 'sync')`);
  }
  const proxy = await RecordingProxy.start(primary.url);
  closing.push(() => proxy.close());
  const options = { databaseUrl: proxy.url, port: 0 };
  const server = await ServerProcess.start({ program: 'exiting.mjs', options });
  closing.push(() => server.end('SIGKILL'));
  const untilShown = watch(server.baseUrl);
  const load = new Load(server.baseUrl);
  await load.more(20);
  await untilShown((shown) => shown >= 20);
  if (!receives) {
    await sqlAt(standby.url, `alter system set primary_conninfo = ''`, 'select pg_reload_conf()');
    await untilTrue(primary.url, 'not exists (select from pg_stat_replication)');
    await load.more(20);
  }

  proxy.pointTo(standby.url);
  // It is started again by itself, where no one connects to it.
  process.kill(primary.pid, 'SIGKILL');
  await load.until(() => load.codes.UNAVAILABLE !== undefined);
  await standby.promote();
  await load.more(20);
  await load.end();

  const rows = await sqlAt(standby.url, `select data ->> 'n' as n from notes`);
  const times = new Map<number, number>();
  for (const { n } of rows) times.set(Number(n), (times.get(Number(n)) ?? 0) + 1);
  await untilShown((shown) => shown === rows.length);
  const { acknowledged, codes } = load;
  console.log(`${acknowledged.length} calls acknowledged, errors ${JSON.stringify(codes)}`);
  return {
    lost: acknowledged.filter((n) => !times.has(n)),
    doubled: [...times].filter(([, number]) => number > 1),
    codes: Object.keys(codes),
  };
}

test('nothing acknowledged is lost when a synchronous standby takes over', async () => {
  expect(await failOver({ receives: true })).toEqual({ lost: [], doubled: [], codes: ['UNAVAILABLE'] });
});

test('control: commits that the standby has not received are detected', async () => {
  const { lost } = await failOver({ receives: false });
  expect(lost.length).toBeGreaterThan(0);
});
