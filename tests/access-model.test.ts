/**
 * Random operations by random users, by every kind of function, compared with a model of the rules. Controls: with any one
 * method of `ctx.db` without rules, the comparison fails.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type AccessApp, openAccessApp, type StepResult } from './access/app.js';
import { noteOf, taskOf } from './access/documents.js';
import { AccessModel, type Row } from './access/model.js';
import type { functions, Step } from './access/program.js';
import { LONG, Random, seedOfThisRun } from './model/random.js';

const STEPS = LONG ? 20_000 : 1_500;
/** More than the model has needed to notice any control. */
const CONTROL_STEPS = 3_000;

const USERS = ['ada', 'eve', 'max', null] as const;
const TEAMS = ['red', 'blue', null] as const;
const WRITERS = ['write', 'act', 'writeAlone', 'inTransaction', 'writeJoined', 'writeFromAction'] as const;
const READERS = ['read', 'readJoined', 'readFromAction', ...WRITERS] as const;
const QUERIES = ['collect', 'count', 'first', 'take', 'iterate', 'paginate'] as const;
const METHODS = [
  ...['get', 'getMany', 'insert', 'insertMany', 'patch', 'replace', 'increment', 'delete', 'deleteMany'],
  ...QUERIES,
];

let app: AccessApp;
beforeAll(async () => {
  app = await openAccessApp();
});
afterAll(() => app.close());

/** One random walk over empty tables. With `unguarded`, that method runs without rules. */
class Walk {
  readonly #random: Random;
  readonly #model = new AccessModel();
  readonly #unguarded: string | null;

  constructor(random: Random, unguarded: string | null = null) {
    this.#random = random;
    this.#unguarded = unguarded;
  }

  async begin(): Promise<this> {
    for (const table of ['notes', 'tasks', 'members']) {
      await app.trusted({ do: 'raw', args: [{ text: `delete from ${table}`, values: [] }] });
    }
    return this;
  }

  /** Runs one step. Returns the difference to the model, or `null`. */
  async step(): Promise<object | null> {
    const random = this.#random;
    if (random.chance(0.05)) {
      await this.#changeMember();
      return null;
    }
    const user = random.pick(USERS);
    const table = random.chance(0.7) ? 'notes' : 'tasks';
    const method = random.pick(METHODS);
    const step = this.#stepOf(method, table);
    const isRead = step.query !== undefined || method.startsWith('get');
    const name = random.pick<keyof typeof functions>(isRead ? READERS : WRITERS);
    const found = method === 'paginate' ? await this.#pages(user, name, step) : await this.#run(user, name, step);
    const expected = this.#model.run(user, table, step, [found.ok ?? ''].flat() as string[]);
    const actual = { ...found, ...('ok' in found && { ok: plain(found.ok) }) };
    return isEqual(actual, expected) ? null : { user, name, step, actual, expected };
  }

  #run(user: string | null, name: keyof typeof functions, step: Step): Promise<StepResult> {
    return app.as(user, name, { ...step, system: step.do === this.#unguarded });
  }

  /** All pages, one after the other, with the rows of each. */
  async #pages(user: string | null, name: keyof typeof functions, step: Step): Promise<StepResult> {
    const rows: Row[] = [];
    const numItems = this.#random.pick([1, 2, 3, 7]);
    for (let cursor: string | null = null; ; ) {
      const { ok, error } = await this.#run(user, name, { ...step, args: [{ cursor, numItems }] });
      if (error !== undefined) return { error };
      rows.push(...ok.page);
      // Only the last page may be short, and it may be empty only if it is the first.
      if (ok.page.length < (ok.isDone ? Math.min(1, rows.length) : numItems)) return { ok: 'a page is not full' };
      cursor = ok.continueCursor;
      if (ok.isDone) return { ok: rows };
    }
  }

  async #changeMember(): Promise<void> {
    const [team, user] = [this.#random.pick(['red', 'blue']), this.#random.pick(['ada', 'eve', 'max'])];
    const { members } = this.#model;
    const query = [
      ['query', 'members'],
      ['withIndex', 'by_team'],
      ['filter', { filter: ['team', team] }],
      ['filter', { filter: ['user', user] }],
    ] as const;
    const { ok } = await app.trusted({ do: 'first', args: [], query });
    if (ok !== null) await app.trusted({ do: 'delete', args: [ok.id] });
    else await app.trusted({ do: 'insert', args: ['members', { team, user }] });
    if (ok !== null) members.delete(`${team}/${user}`);
    else members.add(`${team}/${user}`);
  }

  #stepOf(method: string, table: 'notes' | 'tasks'): Step {
    const random = this.#random;
    const id = () =>
      random.pick([...this.#model.rows[table], { id: `${table}:00000000-0000-7000-8000-000000000000` }]).id;
    const ids = () => Array.from({ length: random.below(4) }, id);
    switch (method) {
      case 'get':
      case 'delete':
        return { do: method, args: [id()] };
      case 'getMany':
        return { do: method, args: [ids()] };
      case 'deleteMany':
        return { do: method, args: [table, ids()] };
      case 'insert':
        return { do: method, args: [table, this.#document(table)] };
      case 'insertMany': {
        const owner = random.pick(['ada', 'eve', 'max']);
        const document = () => ({ ...this.#document(table), ...(random.chance(0.9) && { owner }) });
        return { do: method, args: [table, Array.from({ length: random.below(4) }, document)] };
      }
      case 'patch':
        return { do: method, args: [id(), random.pick([{ rank: random.below(120) }, { owner: 'eve' }, {}])] };
      case 'replace':
        return { do: method, args: [id(), this.#document(table)] };
      case 'increment':
        return { do: method, args: [id(), 'rank', random.below(60)] };
      default:
        return this.#query(method, table);
    }
  }

  #query(method: string, table: 'notes' | 'tasks'): Step {
    const random = this.#random;
    const steps: (readonly [string, ...unknown[]])[] = [['query', table]];
    if (random.chance(0.5)) steps.push(['withIndex', 'by_rank']);
    if (random.chance(0.5)) steps.push(['order', random.pick(['asc', 'desc'])]);
    if (random.chance(0.2)) steps.push(['filter', { filter: ['owner', 'eve'] }]);
    if (method !== 'paginate' && random.chance(0.3)) steps.push(['limit', random.below(6)]);
    if (!['paginate', 'iterate'].includes(method) && random.chance(0.3)) steps.push(['offset', random.below(4)]);
    return { do: method, args: method === 'take' ? [random.below(5)] : [], query: steps };
  }

  #document(table: 'notes' | 'tasks'): object {
    const random = this.#random;
    const owner = random.pick(['ada', 'eve', 'max']);
    const rank = random.below(20);
    if (table === 'tasks') return { ...taskOf(owner), rank };
    return { ...noteOf(owner), rank, team: random.pick(TEAMS), ...(random.chance(0.3) && { published: true }) };
  }
}

/** Documents without their creation times. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value ?? null, (key, each) => (key === '_creationTime' ? undefined : each)));
}

function isEqual(a: unknown, b: unknown): boolean {
  try {
    expect(a).toEqual(b);
    return true;
  } catch {
    return false;
  }
}

test('every operation has the result and the effect that the rules allow', { timeout: 1_200_000 }, async () => {
  const seed = seedOfThisRun();
  console.log(`access model: CONVOY_TEST_SEED=${seed} reproduces these ${STEPS} steps`);
  const walk = await new Walk(new Random(seed)).begin();
  for (let step = 0; step < STEPS; step++) expect(await walk.step()).toBeNull();
});

test.each(METHODS)('control: %s without rules is detected', { timeout: 120_000 }, async (method) => {
  const walk = await new Walk(new Random(7), method).begin();
  for (let step = 0; step < CONTROL_STEPS; step++) if ((await walk.step()) !== null) return;
  expect.unreachable('the model has not noticed it');
});
