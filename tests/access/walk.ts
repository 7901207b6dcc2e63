/**
 * Random operations by random users, by every kind of function, compared with a model of who may see and write what. The
 * tables are those of `program.ts` or `../row-security/program.ts`.
 */
import { expect } from 'vitest';
import type { Random } from '../model/random.js';
import type { StepResult } from './app.js';
import { noteOf, taskOf } from './documents.js';
import type { Row } from './model.js';
import type { functions, Step } from './program.js';

const USERS = ['ada', 'eve', 'max', null] as const;
const TEAMS = ['red', 'blue', null] as const;
const WRITERS = ['write', 'act', 'writeAlone', 'inTransaction', 'writeJoined', 'writeFromAction'] as const;
const READERS = ['read', 'readJoined', 'readFromAction', ...WRITERS] as const;
const QUERIES = ['collect', 'count', 'first', 'take', 'iterate', 'paginate'] as const;
/** The methods of `ctx.db` that are used. */
export const METHODS = [
  ...['get', 'getMany', 'insert', 'insertMany', 'patch', 'replace', 'increment', 'delete', 'deleteMany'],
  ...QUERIES,
];

/** The server of a walk. */
export interface WalkedApp {
  /** Runs a step by a function, as a user over the network. */
  as(user: string | null, name: keyof typeof functions, step: Step): Promise<StepResult>;
  /** Runs a step in a trusted call. */
  trusted(step: Step): Promise<StepResult>;
}

/** What the server is compared with. */
export interface WalkedModel {
  /** In the order of their creation. */
  readonly rows: Readonly<Record<'notes' | 'tasks', readonly Row[]>>;
  /** `team/user`. */
  readonly members: Set<string>;
  /** The result of `step` for `user`, and its effect on the model; `ids` are the ids of the inserted rows. */
  run(user: string | null, table: 'notes' | 'tasks', step: Step, ids: readonly string[]): StepResult;
}

/** One random walk over empty tables. With `unguarded`, that method runs as the system. */
export class Walk {
  readonly #app: WalkedApp;
  readonly #model: WalkedModel;
  readonly #random: Random;
  readonly #unguarded: string | null;

  constructor(app: WalkedApp, model: WalkedModel, random: Random, unguarded: string | null = null) {
    this.#app = app;
    this.#model = model;
    this.#random = random;
    this.#unguarded = unguarded;
  }

  async begin(): Promise<this> {
    for (const table of ['notes', 'tasks', 'members']) {
      await this.#app.trusted({ do: 'raw', args: [{ text: `delete from ${table}`, values: [] }] });
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
    return this.#app.as(user, name, { ...step, system: step.do === this.#unguarded });
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
    const { ok } = await this.#app.trusted({ do: 'first', args: [], query });
    if (ok !== null) await this.#app.trusted({ do: 'delete', args: [ok.id] });
    else await this.#app.trusted({ do: 'insert', args: ['members', { team, user }] });
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
