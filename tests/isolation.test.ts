/**
 * Acceptance 5: many people of many roles on the same queries, while notes are written, change hands and are hidden,
 * people come again as others, and tokens change what somebody may see. Nobody is ever shown a row that is not theirs to
 * see, and everybody ends at all that is.
 */
import { createConvoy } from '@avvos/convoy/node';
import { expect, test } from 'vitest';
import { freshDatabaseUrl } from './app.js';
import { createContext, functions, NAMES, type Person, schema } from './isolation/program.js';
import { Screen, type Seen } from './isolation/screen.js';
import { Stage } from './isolation/stage.js';
import { LONG, Random, seedOfThisRun } from './model/random.js';

const PEOPLE = LONG ? 50 : 10;
/** Of people, from 1 on. Notes of level 0 are everybody's. */
const LEVELS = 4;
const STREAMS = LONG ? 500 : 80;
const MUTATIONS = LONG ? 20_000 : 400;
/** Mutations at the same time; after each so many somebody comes, goes or changes. */
const AT_ONCE = LONG ? 50 : 10;

interface Scene {
  readonly streams: number;
  readonly mutations: number;
  readonly failpoints?: readonly string[];
}

/** Plays it; whoever does not end at all there is to see hangs, where no failpoint was asked for. */
async function play({ streams, mutations, failpoints = [] }: Scene): Promise<Seen> {
  const seed = seedOfThisRun();
  const random = new Random(seed);
  const options = { databaseUrl: freshDatabaseUrl(), createDatabase: true, failpoints };
  const convoy = await createConvoy({ schema, functions, createContext: createContext as never, ...options });
  const screens: Screen[] = [];
  try {
    const { port } = await convoy.listen({ port: 0 });
    const baseUrl = `http://127.0.0.1:${port}`;
    const seen: Seen = { results: 0, rows: 0, foreign: [] };
    const somebody = (): Person => ({ id: `p${random.below(PEOPLE)}`, level: 1 + random.below(LEVELS) });
    for (let at = 0; at < streams; at++) {
      screens.push(new Screen(baseUrl, somebody(), at % 7 === 0, [...new Set(random.picks(NAMES, 2))], seen));
    }
    await Promise.all(screens.map((screen) => screen.open()));
    const stage = new Stage(baseUrl, random, { people: PEOPLE, levels: LEVELS });
    for (let made = 0; made < mutations; made += AT_ONCE) {
      await stage.act(AT_ONCE);
      const screen = random.pick(screens);
      const turn = random.below(4);
      if (turn === 0) await screen.becomes(somebody());
      // Who has a badge is known by their token, so another token is another person.
      if (turn === 1 && !screen.badge) await screen.turns(1 + random.below(LEVELS));
      if (turn === 2) await screen.refuses({ ...screen.person, id: `${screen.person.id}'s friend` });
    }
    await Promise.all(screens.map((screen) => screen.caughtUp()));
    if (failpoints.length === 0) await Promise.all(screens.map((screen) => screen.shows(stage.notes, stage.strict)));
    const { results, rows, foreign } = seen;
    console.log(
      `seed ${seed}: ${foreign.length} foreign rows among ${rows} in ${results} results of ${streams} streams, ${mutations} mutations`,
    );
    return seen;
  } finally {
    await Promise.all(screens.map((screen) => screen.close()));
    await convoy.close();
  }
}

const TIMEOUT = LONG ? 1_800_000 : 60_000;

test('nobody is shown a row that is not theirs to see, and everybody all that is', { timeout: TIMEOUT }, async () => {
  const { foreign } = await play({ streams: STREAMS, mutations: MUTATIONS });
  expect(foreign).toEqual([]);
});

test.each(['shareRegardless', 'shareByFirstRun'])('control: %s is found', async (failpoint) => {
  const { foreign } = await play({ streams: 40, mutations: 200, failpoints: [failpoint] });
  expect(foreign.length).toBeGreaterThan(0);
});
