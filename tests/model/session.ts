/** Random steps on a database and its model, compared after each. */
import { isDeepStrictEqual } from 'node:util';
import { isConvoyError } from '@avvos/convoy';
import { buildQuery, type Db, pickId, randomPlan, randomSlice, WHOLE } from './plans.js';
import { Random } from './random.js';
import { type ModelTable, type Plan, read } from './table.js';
import { fieldValue, randomPlace, randomThing } from './things.js';
import { walk } from './walk.js';

/** The database and the model differ, or one of them violates an invariant. */
export class Mismatch extends Error {}

const ABORTED = new Error('rolled back on purpose');
const GONE = 'things:00000000-0000-4000-8000-00000000dead';
/** The approximate number of documents. */
const CAPACITY = 160;

const WRITES = {
  insert: 6,
  insertMany: 2,
  patch: 6,
  replace: 3,
  remove: 3,
  deleteMany: 1,
  increment: 3,
  concurrent: 3,
};
const STEPS = { ...WRITES, get: 3, getMany: 2, query: 22, walk: 2, nested: 3, whole: 1 };
type Step = keyof typeof STEPS;

export class Session {
  /** Runs the steps; unset before `begin`. */
  db: Db = null as never;
  model: ModelTable;
  readonly random: Random;
  /** The steps so far, for diagnosing a mismatch. */
  readonly trace: string[] = [];
  /** Collects the ids of written documents, while pagination needs them. */
  touched: Set<string> | null = null;
  #depth = 0;

  constructor(model: ModelTable, seed: number) {
    this.model = model;
    this.random = new Random(seed);
  }

  /** Starts a run of the call that the steps are in; after a conflict, another one. */
  begin(db: Db, model: ModelTable): void {
    this.db = db;
    this.model = model;
    this.#depth = 0;
  }

  /** The last steps, one per line. */
  get lastSteps(): string {
    return this.trace.slice(-12).join('\n  ');
  }

  async step(): Promise<void> {
    await this.#run(this.random.weighted(STEPS));
  }

  async write(): Promise<void> {
    await this.#run(this.random.weighted(WRITES));
  }

  async #run(step: Step): Promise<void> {
    const { size } = this.model;
    const full = step === 'insert' || step === 'insertMany' ? size > CAPACITY : false;
    this.trace.push(step);
    await this[full ? 'deleteMany' : step]();
  }

  /** Throws a `Mismatch` where the two are not equal. */
  check(what: string, actual: unknown, expected: unknown): void {
    if (isDeepStrictEqual(actual, expected)) return;
    const format = (value: unknown): string => JSON.stringify(value, null, 1)?.slice(0, 6_000) ?? String(value);
    throw new Mismatch(`${what}\nfound ${format(actual)}\nexpected ${format(expected)}`);
  }

  async insert(): Promise<void> {
    const thing = randomThing(this.random);
    const id = await this.db.insert('things', thing);
    await this.#recordInserted([id], [thing]);
  }

  async insertMany(): Promise<void> {
    const things = Array.from({ length: this.random.below(9) }, () => randomThing(this.random));
    const ids = this.random.chance(0.5)
      ? await this.db.insertMany('things', things)
      : await Promise.all(things.map((thing) => this.db.insert('things', thing)));
    await this.#recordInserted(ids, things);
  }

  async #recordInserted(ids: readonly string[], things: readonly object[]): Promise<void> {
    const found = await this.db.getMany(ids as never[]);
    this.check('the number of ids', ids.length, things.length);
    for (const [at, id] of ids.entries()) {
      this.check(`the new id ${id} in the model`, this.model.row(id), null);
      const document = found[at] as { readonly _creationTime: number } | null;
      if (typeof document?._creationTime !== 'number') throw new Mismatch(`${id} was inserted but is missing`);
      this.model.put(id, document._creationTime, things[at]);
      this.check('an inserted document', document, this.model.document(id));
      this.touched?.add(id);
    }
    this.check('ids in the order of the documents', [...ids].sort(), ids);
  }

  async patch(): Promise<void> {
    await this.#patch();
    this.trace.push('patched');
  }

  /** Issues a patch immediately, and checks its result when it is complete. */
  #patch(): Promise<void> {
    const { random, model } = this;
    const id = this.#anyId();
    const changes: Record<string, unknown> = {};
    for (const field of random.picks(['name', 'size', 'done', 'any', 'note', 'count'], random.below(4))) {
      changes[field] = random.chance(0.25) ? undefined : fieldValue(random, field);
    }
    if (random.chance(0.2)) changes.place = random.chance(0.3) ? undefined : randomPlace(random);
    if (random.chance(0.1)) changes.name = null;
    const patching = random.chance(0.5)
      ? this.db.patch(id as never, changes)
      : this.db.patch('things', bare(id) as never, changes);
    const expected = model.patch(id, changes);
    this.touched?.add(id);
    return settled(patching).then(({ value, error }) => {
      if (expected !== false) this.check(`patch of ${id}`, error ?? value, expected);
      else this.check('a patch that violates the schema', isConvoyError(error) && error.code, 'INVALID_ARGS');
    });
  }

  async replace(): Promise<void> {
    await this.#replace();
  }

  #replace(): Promise<void> {
    const { random, model } = this;
    const id = this.#anyId();
    const thing = randomThing(random);
    const before = model.document(id);
    // A document that was read may be written back with its `id` and `_creationTime`.
    const input = before !== null && random.chance(0.5) ? { ...thing, id, _creationTime: before._creationTime } : thing;
    const replacing = this.db.replace(id as never, input);
    const expected = model.replace(id, thing);
    this.touched?.add(id);
    return replacing.then((document: unknown) => this.check(`replace of ${id}`, document, expected));
  }

  async remove(): Promise<void> {
    await this.#remove();
  }

  #remove(): Promise<void> {
    const id = this.#anyId();
    const deleting = this.random.chance(0.5)
      ? this.db.delete(id as never)
      : this.db.delete('things', bare(id) as never);
    const expected = this.model.delete(id);
    this.touched?.add(id);
    return deleting.then((deleted) => this.check(`delete of ${id}`, deleted, expected));
  }

  async deleteMany(): Promise<void> {
    const maxIds = this.model.size > CAPACITY ? 40 : 4;
    const ids = Array.from({ length: this.random.below(maxIds) }, () => this.#anyId());
    const deleted = await this.db.deleteMany('things', ids as never[]);
    const expected = ids.filter((id) => this.model.delete(id)).length;
    for (const id of ids) this.touched?.add(id);
    this.check('deleteMany', deleted, expected);
  }

  async increment(): Promise<void> {
    await this.#increment();
  }

  #increment(): Promise<void> {
    const { random, model } = this;
    const field = random.pick(['count', 'size']);
    // Only values for which binary and decimal addition agree.
    const id = this.#anyId();
    const value = (model.row(id)?.data[field] ?? 0) as number;
    const exact = Number.isInteger(value * 8) && Math.abs(value) < 2 ** 40;
    if (!exact || model.patch(id, {}) === false) return Promise.resolve();
    const by = random.below(65) / 8 - 4;
    const incrementing = this.db.increment(id as never, field, by);
    const expected = model.increment(id, field, by);
    this.touched?.add(id);
    return incrementing.then((document: unknown) => this.check(`increment of ${id}`, document, expected));
  }

  /** Several concurrent writes to few documents, which must apply in the order they were issued. */
  async concurrent(): Promise<void> {
    const { random } = this;
    this.#subset = random.picks(this.model.ids, 3);
    const work = Array.from({ length: 2 + random.below(4) }, () => {
      const kind = random.weighted({ patch: 5, replace: 1, increment: 2, remove: 1, get: 3 });
      this.trace.push(`and ${kind}`);
      switch (kind) {
        case 'patch':
          return this.#patch();
        case 'replace':
          return this.#replace();
        case 'increment':
          return this.#increment();
        case 'remove':
          return this.#remove();
        default:
          return this.#get();
      }
    });
    this.#subset = null;
    const ended = await Promise.allSettled(work);
    for (const each of ended) if (each.status === 'rejected') throw each.reason;
  }

  #subset: readonly string[] | null = null;

  #anyId(): string {
    if (this.random.chance(0.05)) return GONE;
    return (this.#subset?.length ? this.random.pick(this.#subset) : pickId(this.random, this.model)) ?? GONE;
  }

  async get(): Promise<void> {
    await this.#get();
  }

  #get(): Promise<void> {
    const id = this.#anyId();
    const getting = this.random.chance(0.5) ? this.db.get(id as never) : this.db.get('things', bare(id) as never);
    const expected = this.model.document(id);
    return getting.then((document: unknown) => this.check(`get of ${id}`, document, expected));
  }

  async getMany(): Promise<void> {
    const ids = Array.from({ length: this.random.below(12) }, () => this.#anyId());
    const found = await this.db.getMany(ids as never[]);
    this.check(
      'getMany',
      found,
      ids.map((id) => this.model.document(id)),
    );
  }

  async query(): Promise<void> {
    const { random } = this;
    const plan: Plan = { ...randomPlan(random, this.model), ...randomSlice(random) };
    const documents = this.model.rows(plan).within.map(read);
    const query = buildQuery(this.db, plan);
    const how = random.pick(['collect', 'collect', 'first', 'take', 'unique', 'count', 'iterate'] as const);
    const what = `${how} of ${JSON.stringify(plan)}`;
    this.trace.push(what);
    switch (how) {
      case 'collect':
        return this.check(what, await query.collect(), documents);
      case 'first':
        return this.check(what, await query.first(), documents[0] ?? null);
      case 'take': {
        const count = random.below(8);
        return this.check(`${what}, ${count}`, await query.take(count), documents.slice(0, count));
      }
      case 'count':
        return this.check(what, await query.count(), documents.length);
      case 'unique': {
        const { value, error } = await settled(query.unique());
        const expected = documents.length > 1 ? 'CONFLICT' : (documents[0] ?? null);
        return this.check(what, isConvoyError(error) ? error.code : (error ?? value), expected);
      }
      case 'iterate': {
        const stop = random.chance(0.3) ? 1 + random.below(5) : Number.POSITIVE_INFINITY;
        const seen: unknown[] = [];
        for await (const document of query) if (seen.push(document) >= stop) break;
        return this.check(what, seen, documents.slice(0, stop));
      }
    }
  }

  async walk(): Promise<void> {
    await walk(this, {
      read: (use) => use(this.db),
      write: () => this.write(),
    });
  }

  /** A nested transaction, which may be rolled back with everything in it. */
  async nested(): Promise<void> {
    if (this.#depth >= 3) return;
    const { db, random } = this;
    const before = this.model.copy();
    const rollsBack = random.chance(0.5);
    this.#depth++;
    const ended = await settled(
      db.transaction(async (tx) => {
        if (random.chance(0.5)) this.db = tx;
        for (let left = random.below(6); left > 0; left--) await this.step();
        if (rollsBack) throw ABORTED;
      }),
    );
    this.#depth--;
    this.db = db;
    if (ended.error !== undefined && ended.error !== ABORTED) throw ended.error;
    if (rollsBack) this.model = before;
    this.trace.push(rollsBack ? 'rolled back' : 'committed');
    await this.whole();
  }

  /** Compares the whole table, in creation order. */
  async whole(): Promise<void> {
    this.check('the whole table', await this.db.query('things').collect(), this.model.rows(WHOLE).all.map(read));
  }
}

/** Resolves with the promise's value or error. */
async function settled<T>(work: Promise<T>): Promise<{ readonly value?: T; readonly error?: unknown }> {
  try {
    return { value: await work };
  } catch (error) {
    return { error };
  }
}

function bare(id: string): string {
  return id.slice('things:'.length);
}
