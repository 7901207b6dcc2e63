/**
 * Acceptance 5: many people of many roles on the same queries, while notes are written, change hands and are hidden,
 * people come again as others, and tokens change what somebody may see. Nobody is ever shown a row that is not theirs to
 * see, and everybody ends at all that is.
 */
import { type BaseContext, createFunctionHelpers, type DataModelOf, defineSchema, defineTable } from '@avvos/convoy';
import { createConvoy } from '@avvos/convoy/node';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { freshDatabaseUrl } from './app.js';
import { LiveSession } from './live-wire.js';
import { LONG, Random, seedOfThisRun } from './model/random.js';

const PEOPLE = LONG ? 50 : 10;
/** Of people, from 1 on. Notes of level 0 are everybody's. */
const LEVELS = 4;
const STREAMS = LONG ? 500 : 80;
const MUTATIONS = LONG ? 20_000 : 400;
/** About how many notes there are. */
const NOTES = 40;

const schema = defineSchema({
  notes: defineTable({ owner: z.string(), level: z.number(), text: z.string() }).index('by_owner', ['owner']),
  settings: defineTable({ name: z.string(), on: z.boolean() }).index('by_name', ['name'], { unique: true }),
});

interface Person {
  readonly id: string;
  readonly level: number;
}

interface Note {
  readonly id: string;
  readonly owner: string;
  readonly level: number;
}

type Base = BaseContext<DataModelOf<typeof schema>>;
type Context = Base & {
  readonly user: Person;
  readonly clearance: { readonly id: string; readonly level: number };
  readonly badge?: Badge;
};

/** Nothing that can be compared. */
class Badge {
  readonly #person: Person;
  constructor(person: Person) {
    this.#person = person;
  }
  get person(): Person {
    return this.#person;
  }
}

const { query, mutation } = createFunctionHelpers<Context>();

/** Handlers that differ in what of their caller they look at, and when. */
const watched = {
  /** By level: people of one level share it. */
  forLevel: query({
    handler: async ({ db, clearance }) =>
      (await db.query('notes').collect()).filter(({ level }) => level <= clearance.level),
  }),
  /** By person and level. */
  mine: query({
    handler: async (ctx) =>
      (
        await ctx.db
          .query('notes')
          .withIndex('by_owner', (q) => q.eq('owner', ctx.user.id))
          .collect()
      ).filter(({ level }) => level <= ctx.user.level),
  }),
  /** By level, and only while the setting is on: else it is the same for all. */
  sometimes: query({
    handler: async (ctx) => {
      const strict = await ctx.db
        .query('settings')
        .withIndex('by_name', (q) => q.eq('name', 'strict'))
        .first();
      const only = strict?.on === true ? ctx.clearance.level : 0;
      return (await ctx.db.query('notes').collect()).filter(({ level }) => level === only);
    },
  }),
  /** By something that is not plain data, where there is one. */
  byBadge: query({
    handler: async (ctx) => {
      const most = ctx.badge?.person.level ?? 0;
      return (await ctx.db.query('notes').collect()).filter(({ level }) => level <= most);
    },
  }),
  /** By all there is, spread into something else. */
  spread: query({
    handler: async (ctx) => {
      const { user, ...rest } = { ...ctx };
      return (await rest.db.query('notes').collect()).filter(({ level }) => level <= user.level);
    },
  }),
};
type Watched = keyof typeof watched;
const NAMES = Object.keys(watched) as Watched[];

const functions = {
  notes: {
    ...watched,
    write: mutation({
      input: { owner: z.string(), level: z.number() },
      handler: (ctx, note) => ctx.db.insert('notes', { ...note, text: 'x'.repeat(50) }),
    }),
    change: mutation({
      input: { id: z.string(), owner: z.string(), level: z.number() },
      handler: (ctx, { id, ...change }) => ctx.db.patch('notes', id as never, change),
    }),
    remove: mutation({
      input: { id: z.string() },
      handler: (ctx, { id }) => ctx.db.delete('notes', id as never),
    }),
    setStrict: mutation({
      input: { on: z.boolean() },
      handler: async (ctx, { on }) => {
        const strict = await ctx.db
          .query('settings')
          .withIndex('by_name', (q) => q.eq('name', 'strict'))
          .first();
        if (strict === null) await ctx.db.insert('settings', { name: 'strict', on });
        else await ctx.db.patch(strict.id, { on });
      },
    }),
  },
};

/** A token says who someone is; some bring a badge. */
const tokenOf = ({ id, level }: Person, badge: boolean) => `${id}/${level}${badge ? '/badge' : ''}`;

function createContext(req: { readonly headers: { readonly authorization?: unknown } }, base: Base): Context {
  const [id = '', level = '0', badge] = String(req.headers.authorization).slice('Bearer '.length).split('/');
  const user = { id, level: Number(level) };
  // By its `id` it is the same for everyone: a person whose level changes stays who they are.
  const clearance = { id: 'clearance', level: user.level };
  return { ...base, user, clearance, ...(badge === undefined ? {} : { badge: new Badge(user) }) };
}

/** What of all there is `name` shows a person, where nothing goes wrong. */
function shownBy(name: Watched, notes: readonly Note[], { person, badge }: Viewer, strict: boolean): readonly Note[] {
  const upTo = (level: number) => notes.filter((note) => note.level <= level);
  switch (name) {
    case 'forLevel':
    case 'spread':
      return upTo(person.level);
    case 'mine':
      return upTo(person.level).filter(({ owner }) => owner === person.id);
    case 'sometimes':
      return notes.filter(({ level }) => level === (strict ? person.level : 0));
    case 'byBadge':
      return upTo(badge ? person.level : 0);
  }
}

interface Viewer {
  person: Person;
  readonly badge: boolean;
}

/** What was seen, by everyone together. */
interface Seen {
  results: number;
  rows: number;
  foreign: string[];
}

/** Someone at a screen. */
class Screen implements Viewer {
  person: Person;
  readonly badge: boolean;
  readonly #baseUrl: string;
  readonly #names: readonly Watched[];
  readonly #seen: Seen;
  /** Who else the person was a moment ago; then there may still be on its way what was theirs. */
  #before: Person | null = null;
  #session!: LiveSession;
  #fences = 1_000;

  constructor(baseUrl: string, person: Person, badge: boolean, names: readonly Watched[], seen: Seen) {
    this.#baseUrl = baseUrl;
    this.person = person;
    this.badge = badge;
    this.#names = names;
    this.#seen = seen;
  }

  async open(held?: LiveSession['held']): Promise<this> {
    this.#session = await LiveSession.open({
      baseUrl: this.#baseUrl,
      token: tokenOf(this.person, this.badge),
      queries: this.#names.map((name, id) => {
        const hash = held?.get(id)?.hash;
        return { id, name: `notes.${name}`, args: {}, ...(hash === undefined ? {} : { hash }) };
      }),
      ...(held === undefined ? {} : { held }),
      onResult: (query, data) => this.#look(this.#names[query] ?? 'sometimes', data as readonly Note[]),
    });
    return this;
  }

  /** The same screen, and somebody else before it, who knows what the last one has seen by its hashes. */
  async becomes(person: Person): Promise<void> {
    const { held } = this.#session;
    await this.#session.close();
    this.person = person;
    await this.open(held);
  }

  /** A new token of the same person, who may see more by it, or less. */
  async turns(level: number): Promise<void> {
    this.#before = this.person;
    this.person = { ...this.person, level };
    expect(await this.#session.change({}, tokenOf(this.person, this.badge))).toBe(200);
    await this.caughtUp();
    this.#before = null;
  }

  /** Somebody else's token does not do for this session. */
  async refuses(person: Person): Promise<void> {
    expect(await this.#session.change({}, tokenOf(person, this.badge))).toBe(403);
  }

  /** Waits until all has arrived that was sent before: what is asked for now comes after it. */
  async caughtUp(): Promise<void> {
    const id = this.#fences++;
    await this.#session.change({ add: [{ id, name: 'notes.sometimes', args: {} }] });
    await this.#session.until(() => this.#session.held.has(id));
    await this.#session.change({ remove: [id] });
  }

  /** Waits until all that is to be seen is, and nothing else. */
  async shows(notes: readonly Note[], strict: boolean): Promise<void> {
    const ids = (list: readonly Note[]) =>
      list
        .map(({ id }) => id)
        .sort()
        .join();
    const expected = this.#names.map((name) => ids(shownBy(name, notes, this, strict)));
    await this.#session.until(() =>
      expected.every((wanted, query) => ids((this.#session.data(query) ?? []) as readonly Note[]) === wanted),
    );
  }

  close(): Promise<void> {
    return this.#session.close();
  }

  #look(name: Watched, notes: readonly Note[]): void {
    this.#seen.results++;
    this.#seen.rows += notes.length;
    const people = [this.person, ...(this.#before === null ? [] : [this.#before])];
    const allowed = new Set(
      people.flatMap((person) =>
        [true, false].flatMap((strict) => shownBy(name, notes, { person, badge: this.badge }, strict)),
      ),
    );
    for (const note of notes) {
      if (!allowed.has(note)) {
        this.#seen.foreign.push(`${name} showed ${JSON.stringify(this.person)} ${JSON.stringify(note)}`);
      }
    }
  }
}

interface Scene {
  readonly streams: number;
  readonly mutations: number;
  readonly mistakes?: readonly string[];
}

/** Plays it; whoever does not end at all there is to see hangs, where no mistake was asked for. */
async function play({ streams, mutations, mistakes = [] }: Scene): Promise<Seen> {
  const seed = seedOfThisRun();
  const random = new Random(seed);
  const options = { databaseUrl: freshDatabaseUrl(), createDatabase: true, mistakes };
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
    const stage = new Stage(baseUrl, random);
    for (let made = 0; made < mutations; made += 10) {
      await stage.act(10);
      const screen = random.pick(screens);
      const turn = random.below(4);
      if (turn === 0) await screen.becomes(somebody());
      // Who has a badge is known by their token, so another token is another person.
      if (turn === 1 && !screen.badge) await screen.turns(1 + random.below(LEVELS));
      if (turn === 2) await screen.refuses({ ...screen.person, id: `${screen.person.id}'s friend` });
    }
    await Promise.all(screens.map((screen) => screen.caughtUp()));
    if (mistakes.length === 0) await Promise.all(screens.map((screen) => screen.shows(stage.notes, stage.strict)));
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

/** Those who write, and what there is by now. */
class Stage {
  notes: Note[] = [];
  strict = false;
  readonly #baseUrl: string;
  readonly #random: Random;

  constructor(baseUrl: string, random: Random) {
    this.#baseUrl = baseUrl;
    this.#random = random;
  }

  /** Makes so many mutations, at the same time. */
  async act(count: number): Promise<void> {
    const free = [...this.notes];
    const made = this.#random.chance(0.3) ? [this.#toggle()] : [];
    while (made.length < count) made.push(this.#one(free));
    await Promise.all(made);
  }

  async #toggle(): Promise<void> {
    this.strict = !this.strict;
    await this.#call('setStrict', { on: this.strict });
  }

  async #one(free: Note[]): Promise<void> {
    const owner = `p${this.#random.below(PEOPLE)}`;
    const level = this.#random.below(LEVELS + 1);
    const [note] = free.splice(this.#random.below(free.length), 1);
    if (note === undefined || this.notes.length < this.#random.below(2 * NOTES)) {
      const id = (await this.#call('write', { owner, level })) as string;
      this.notes.push({ id, owner, level });
      return;
    }
    if (this.#random.chance(0.3)) {
      this.notes = this.notes.filter(({ id }) => id !== note.id);
      await this.#call('remove', { id: note.id });
      return;
    }
    this.notes = this.notes.map((other) => (other.id === note.id ? { id: note.id, owner, level } : other));
    await this.#call('change', { id: note.id, owner, level });
  }

  async #call(name: keyof typeof functions.notes, input: object): Promise<unknown> {
    const response = await fetch(`${this.#baseUrl}/api/mutation/notes.${name}`, {
      method: 'POST',
      headers: { authorization: 'Bearer writer/0' },
      body: JSON.stringify(input),
    });
    const answer = (await response.json()) as { readonly ok: boolean; readonly data?: unknown };
    expect(answer).toMatchObject({ ok: true });
    return answer.data;
  }
}

const TIMEOUT = LONG ? 1_800_000 : 60_000;

test('nobody is shown a row that is not theirs to see, and everybody all that is', { timeout: TIMEOUT }, async () => {
  const { foreign } = await play({ streams: STREAMS, mutations: MUTATIONS });
  expect(foreign).toEqual([]);
});

test.each(['shareRegardless', 'shareByFirstRun'])('control: %s is found', async (mistake) => {
  const { foreign } = await play({ streams: 40, mutations: 200, mistakes: [mistake] });
  expect(foreign.length).toBeGreaterThan(0);
});
