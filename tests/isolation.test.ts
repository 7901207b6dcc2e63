/**
 * Acceptance 5: many people with different roles subscribe to the same queries while notes are written, reassigned and
 * hidden, subscribers reconnect as other people, and new tokens change their permissions. No subscriber ever receives a
 * row that its person may not see, and each ends with all rows that it may. Calls of other people between the writes are
 * answered with exactly the rows that these may see.
 */
import type { SchemaDefinition } from '@avvos/convoy';
import { createConvoy } from '@avvos/convoy/node';
import { describe, expect, test } from 'vitest';
import { freshDatabaseUrl } from './app.js';
import { callAs } from './isolation/caller.js';
import { createContext, functions, NAMES, type Person, schema } from './isolation/program.js';
import { ruledFunctions, ruledSchema } from './isolation/ruled-program.js';
import { type Received, Subscriber } from './isolation/subscriber.js';
import { Writer } from './isolation/writer.js';
import { LONG, Random } from './model/random.js';
import { controlSeed, withSeeds } from './model/seeds.js';

const PEOPLE = LONG ? 50 : 10;
/** The levels of people are 1 to this number. Notes of level 0 are visible to all. */
const LEVELS = 4;
const STREAMS = LONG ? 500 : 80;
const MUTATIONS = LONG ? 20_000 : 400;
/** Mutations in one concurrent batch; after each batch one subscriber changes. */
const BATCH = LONG ? 50 : 10;

interface Scenario {
  readonly streams: number;
  readonly mutations: number;
  readonly seed?: number;
  readonly failpoints?: readonly string[];
  /** By default the functions check who may see a note. */
  readonly program?: { readonly schema: SchemaDefinition; readonly functions: object };
  /** Whether rows are expected to leak. */
  readonly leaks?: boolean;
}

const RULED = { schema: ruledSchema({ weakened: false }), functions: ruledFunctions };

/** Runs a scenario. Without failpoints it hangs unless each subscriber ends with all rows it may see. */
async function run({ streams, mutations, seed = controlSeed(), ...scenario }: Scenario): Promise<Received> {
  const { failpoints = [], program = { schema, functions }, leaks = failpoints.length > 0 } = scenario;
  const random = new Random(seed);
  const options = { databaseUrl: freshDatabaseUrl(), createDatabase: true, failpoints };
  const convoy = await createConvoy({
    ...(program as typeof RULED),
    createContext: createContext as never,
    ...options,
  });
  const subscribers: Subscriber[] = [];
  try {
    const { port } = await convoy.listen({ port: 0 });
    const baseUrl = `http://127.0.0.1:${port}`;
    const received: Received = { results: 0, rows: 0, leaked: [] };
    const randomPerson = (): Person => ({ id: `p${random.below(PEOPLE)}`, level: 1 + random.below(LEVELS) });
    for (let at = 0; at < streams; at++) {
      const names = [...new Set(random.picks(NAMES, 2))];
      subscribers.push(new Subscriber(baseUrl, randomPerson(), at % 7 === 0, names, received));
    }
    await Promise.all(subscribers.map((subscriber) => subscriber.open()));
    const writer = new Writer(baseUrl, random, { people: PEOPLE, levels: LEVELS });
    for (let written = 0; written < mutations; written += BATCH) {
      await writer.writeBatch(BATCH);
      const viewers = [0, 1, 2].map((at) => ({ person: randomPerson(), badge: at === 0 }));
      await callAs(viewers, { baseUrl, writer, random, received });
      const subscriber = random.pick(subscribers);
      const choice = random.below(4);
      if (choice === 0) await subscriber.reopenAs(randomPerson());
      // People with a badge are identified by their token, so another token is another person.
      if (choice === 1 && !subscriber.badge) await subscriber.changeLevel(1 + random.below(LEVELS));
      if (choice === 2) {
        await subscriber.expectRefused({ ...subscriber.person, id: `${subscriber.person.id}'s friend` });
      }
    }
    await Promise.all(subscribers.map((subscriber) => subscriber.catchUp()));
    if (!leaks) {
      await Promise.all(subscribers.map((subscriber) => subscriber.untilComplete(writer.notes, writer.strict)));
    }
    const { results, rows, leaked } = received;
    console.log(
      `seed ${seed}: ${leaked.length} leaked rows among ${rows} in ${results} results of ${streams} streams, ${mutations} mutations`,
    );
    return received;
  } finally {
    await Promise.all(subscribers.map((subscriber) => subscriber.close()));
    await convoy.close();
  }
}

const TIMEOUT = LONG ? 1_800_000 : 60_000;

test('each subscriber receives exactly the rows that its person may see', { timeout: TIMEOUT }, async () => {
  await withSeeds('isolation', async (seed) => {
    const { leaked } = await run({ streams: STREAMS, mutations: MUTATIONS, seed });
    expect(leaked).toEqual([]);
  });
});

/** Whether a mistake is detected; by chance, the callers of one run may do no harm. */
async function isDetected(mistake: Partial<Parameters<typeof run>[0]>): Promise<boolean> {
  for (let attempt = 0; attempt < 5; attempt++) {
    const { leaked } = await run({ streams: 40, mutations: 200, ...mistake });
    if (leaked.length > 0) return true;
  }
  return false;
}

test.each(['shareRegardless', 'shareByFirstRun'])('control: failpoint %s is detected', async (failpoint) => {
  expect(await isDetected({ failpoints: [failpoint] })).toBe(true);
});

describe('with access rules in place of the checks in functions', () => {
  test('each subscriber receives exactly the rows that its person may see', { timeout: TIMEOUT }, async () => {
    await withSeeds('isolation-with-rules', async (seed) => {
      const { leaked } = await run({ streams: STREAMS, mutations: MUTATIONS, seed, program: RULED });
      expect(leaked).toEqual([]);
    });
  });

  test.each(['shareRegardless', 'shareByFirstRun'])('control: failpoint %s is detected', async (failpoint) => {
    expect(await isDetected({ failpoints: [failpoint], program: RULED })).toBe(true);
  });

  test('control: a rule that allows all is detected', async () => {
    const program = { ...RULED, schema: ruledSchema({ weakened: true }) };
    expect(await isDetected({ program, leaks: true })).toBe(true);
  });
});
