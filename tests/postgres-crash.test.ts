/**
 * Acceptance 8: Postgres is killed again and again while many clients write, read and watch. Calls fail with UNAVAILABLE
 * and with nothing else, no acknowledged mutation is lost, each of the others took effect as a whole or not at all, and
 * live queries are current soon after Postgres accepts connections again.
 */
import pg from 'pg';
import { expect, test } from 'vitest';
import { api, serve } from './app.js';
import { LONG, Random } from './model/random.js';
import { controlSeed, withSeeds } from './model/seeds.js';
import { startOwnPostgres } from './own-postgres.js';

const KILLS = LONG ? 20 : 2;
const WRITERS = LONG ? 16 : 6;
const READERS = LONG ? 8 : 2;
const WATCHERS = LONG ? 200 : 20;
const CHANNELS = 4;
/** The time from the first accepted connection until all live queries are current; for optimised builds. */
const RECOVERY_LIMIT = 5_000;
/** The latest time of a kill after everything is current, in milliseconds. */
const LATEST_KILL = 300;

interface Measured {
  /** Acknowledged messages that are not stored, or not once. */
  readonly lost: string[];
  /** Calls of which one of two messages is stored. */
  readonly halves: string[];
  /** The codes of errors, with their numbers. */
  readonly codes: Record<string, number>;
  /** From the first accepted connection until all live queries are current, the longest of all kills. */
  readonly recoveryMs: number;
}

/** Postgres, and the times at which it has accepted connections. */
async function startPostgres(settings: Readonly<Record<string, string>>) {
  let readyAt = 0;
  const onEvent = ({ kind }: { readonly kind: string }) => {
    if (kind === 'ready') readyAt = performance.now();
  };
  const postgres = await startOwnPostgres({ settings, onEvent });
  return {
    postgres,
    readyAt: () => readyAt,
    /** Kills it, without the shutdown that writes what is in memory. */
    kill: () => process.kill(postgres.pid, 'SIGKILL'),
  };
}

/** The number of kills before a message was sent is at the start of its text. */
const epochOf = (body: string) => Number(body.slice(0, body.indexOf(':')));

/** A live query of one channel. */
function watch(app: Awaited<ReturnType<typeof serve>>, channelId: string, onError: (error: unknown) => void) {
  let shown: readonly string[] = [];
  let onChange = () => {};
  app.another().watch(api.messages.list, { channelId: channelId as never }, ({ data, error }) => {
    if (error) onError(error);
    if (data !== null) shown = data.map(({ body }) => body);
    onChange();
  });
  return async (condition: (shown: readonly string[]) => boolean): Promise<void> => {
    while (!condition(shown)) {
      await new Promise<void>((resolve) => {
        onChange = resolve;
      });
    }
  };
}

async function killUnderLoad(kills: number, random: Random, settings: Record<string, string> = {}): Promise<Measured> {
  const database = await startPostgres(settings);
  const app = await serve({ databaseUrl: database.postgres.url });
  const channels: string[] = [];
  for (let n = 0; n < CHANNELS; n++) {
    channels.push(await app.client.mutation(api.channels.create, { name: `channel ${n}` }));
  }
  // Otherwise the control would lose the tables, too.
  await app.psql.query('checkpoint');
  const codes: Record<string, number> = {};
  const count = (error: unknown) => {
    const { code = String(error) } = error as { code?: string };
    codes[code] = (codes[code] ?? 0) + 1;
  };
  /** Makes one call, without the retries of a client. */
  const call = async (path: string, args: object): Promise<boolean> => {
    try {
      const response = await fetch(`${app.baseUrl}/api/${path}`, { method: 'POST', body: JSON.stringify(args) });
      const { ok, error } = (await response.json()) as { ok: boolean; error?: unknown };
      if (!ok) count(error);
      return ok;
    } catch (error) {
      // Without an answer; counted by its message.
      count(String((error as Error).cause ?? error));
      return false;
    }
  };

  const watchers = Array.from({ length: WATCHERS }, (_, at) => watch(app, channels[at % CHANNELS] ?? '', count));
  const acknowledged: string[] = [];
  const sent: string[] = [];
  let [epoch, isOver] = [0, false];
  const writers = Array.from({ length: WRITERS }, async (_, writer) => {
    for (let n = 0; !isOver; n++) {
      const body = `${epoch}:${writer}.${n}`;
      const channelId = channels[(writer + n) % CHANNELS];
      sent.push(body);
      // Two documents, by a batch or by two inserts that may be held.
      const isSent = await call('mutation/messages.sendMany', { channelId, bodies: [`${body}a`, `${body}b`] });
      if (isSent) acknowledged.push(body);
    }
  });
  const readers = Array.from({ length: READERS }, async (_, reader) => {
    while (!isOver) await call('query/messages.list', { channelId: channels[reader % CHANNELS] });
  });
  const allShow = (number: number) =>
    Promise.all(watchers.map((until) => until((bodies) => bodies.some((body) => epochOf(body) >= number))));

  let recoveryMs = 0;
  await allShow(0);
  while (epoch < kills) {
    await new Promise((resolve) => setTimeout(resolve, random.below(LATEST_KILL)));
    const before = database.readyAt();
    database.kill();
    // Its backends end a little later, so what is sent meanwhile may belong to neither epoch.
    while (database.readyAt() === before) await new Promise(setImmediate);
    epoch += 1;
    await allShow(epoch);
    recoveryMs = Math.max(recoveryMs, performance.now() - database.readyAt());
  }
  isOver = true;
  await Promise.all([...writers, ...readers]);

  const psql = new pg.Client({ connectionString: database.postgres.url });
  await psql.connect();
  const { rows } = await psql.query<{ body: string; channel: string }>(
    `select data ->> 'body' as body, data ->> 'channelId' as channel from messages order by created_at desc, id desc`,
  );
  await psql.end();
  const times = new Map<string, number>();
  for (const { body } of rows) times.set(body, (times.get(body) ?? 0) + 1);
  const timesOf = (body: string) => [times.get(`${body}a`) ?? 0, times.get(`${body}b`) ?? 0].join();
  const measured = {
    lost: acknowledged.filter((body) => timesOf(body) !== '1,1'),
    halves: sent.filter((body) => !['0,0', '1,1'].includes(timesOf(body))),
    codes,
    recoveryMs,
  };
  // Each live query equals its table.
  const latest = (channel: string | undefined) => rows.filter((row) => row.channel === channel).slice(0, 50);
  const expected = channels.map((channel) => JSON.stringify(latest(channel).map(({ body }) => body)));
  await Promise.all(watchers.map((until, at) => until((bodies) => JSON.stringify(bodies) === expected[at % CHANNELS])));
  console.log(
    `${kills} kills: ${acknowledged.length} of ${sent.length} calls acknowledged, ${measured.lost.length} lost, ` +
      `${measured.halves.length} halves; errors ${JSON.stringify(codes)}; ` +
      `${WATCHERS} live queries current ${Math.round(recoveryMs)} ms after Postgres at most`,
  );
  await app.close();
  await database.postgres.stop();
  return measured;
}

test('nothing is lost when Postgres is killed under load', { timeout: LONG ? 900_000 : 120_000 }, async () => {
  await withSeeds('postgres-crash', async (seed) => {
    const { lost, halves, codes, recoveryMs } = await killUnderLoad(KILLS, new Random(seed));
    expect({ lost, halves }).toEqual({ lost: [], halves: [] });
    expect(Object.keys(codes)).toEqual(['UNAVAILABLE']);
    if (LONG) expect(recoveryMs).toBeLessThan(RECOVERY_LIMIT);
  });
});

test('control: commits that are acknowledged before they are on disk are detected', async () => {
  const settings = { synchronous_commit: 'off', wal_writer_delay: '10s', wal_writer_flush_after: '1GB' };
  const { lost } = await killUnderLoad(1, new Random(controlSeed()), settings);
  expect(lost.length).toBeGreaterThan(0);
});
