/**
 * What of stored documents JavaScript cannot hold, and how a call passes it on as Postgres wrote it.
 *
 * A handler sees the nearest number (`Infinity` for what is too large), because that is what JSON gives. As long as
 * nothing has changed it, the text Postgres wrote is what is sent and stored again. A call that read no such document,
 * which is almost every call, has none of these.
 */

import { randomUUID } from 'node:crypto';
import { type LossyText, MAX_DEPTH } from '../values/json.js';

/** What the engine says of an answer beside its result. */
export interface LossyAnswer {
  /** Where numbers are that no double is equal to, and their text. */
  readonly numbers?: readonly (readonly [path: readonly (string | number)[], text: string])[];
  /** The result nests about as deep as what is sent may, or deeper. */
  readonly deep?: boolean;
}

interface LossyNumber {
  readonly value: number;
  readonly text: string;
}

/** By key; the keys of an array are its places. */
type Numbers = Map<string, LossyNumber>;

/** A number of a document, by the keys that lead to it through objects. */
interface NumberOfDocument {
  readonly keys: readonly string[];
  readonly number: LossyNumber;
}

/** How many documents an error names. */
const MAX_ORIGINS = 3;

/** Stands for a number while JSON is made; nobody else can say it. */
const MARK = randomUUID();

export class LossyValues implements LossyText {
  readonly #numbers = new WeakMap<object, Numbers>();
  /** The same by document, because a copy of one (`{ ...document }`) can only be told by its id. */
  readonly #ofDocuments = new Map<string, NumberOfDocument[]>();
  readonly #deep = new WeakSet<object>();
  /** Documents that nest deeper than ours may. */
  readonly #deepDocuments = new Set<string>();

  /** Notes what was said of `result`, which was just parsed. */
  note(result: unknown, { numbers = [], deep = false }: LossyAnswer): void {
    for (const [path, text] of numbers) this.#noteNumber(result, path, { value: Number(text), text });
    if (deep) this.#noteDeep(result);
  }

  textAt(holder: object, key: string | number): string | undefined {
    const number = this.#numbers.get(holder)?.get(String(key));
    // Whatever the handler has put there since is its own.
    return number !== undefined && memberOf(holder, key) === number.value ? number.text : undefined;
  }

  isStored(value: object): boolean {
    return this.#deep.has(value);
  }

  /** Takes what is known of `from` over to `to`, which a schema or JSON has made of it: numbers that are the same. */
  carry(from: unknown, to: unknown): void {
    const pairs: [unknown, unknown][] = [[from, to]];
    const seen = new WeakSet<object>();
    for (let pair = pairs.pop(); pair !== undefined; pair = pairs.pop()) {
      const [before, after] = pair;
      if (before === after || !isObject(before) || !isObject(after) || seen.has(after)) continue;
      seen.add(after);
      if (this.isStored(before)) this.#deep.add(after);
      for (const [key, number] of this.#numbers.get(before) ?? []) {
        if (memberOf(before, key) === number.value && memberOf(after, key) === number.value) {
          this.#add(after, key, number);
        }
      }
      for (const key of Object.keys(after)) {
        if (Object.hasOwn(before, key)) pairs.push([memberOf(before, key), memberOf(after, key)]);
      }
    }
  }

  /** Finds copies of documents in `value`: a number that is still in its place there is not changed by that. */
  adopt(value: unknown): void {
    const seen = new WeakSet<object>();
    const open = [value];
    while (open.length > 0) {
      const next = open.pop();
      if (!isObject(next) || seen.has(next)) continue;
      seen.add(next);
      this.adoptAs(memberOf(next, 'id'), next);
      for (const key of Object.keys(next)) open.push(memberOf(next, key));
    }
  }

  /** The same where `value` is a form of the document `id`. */
  adoptAs(id: unknown, value: object): void {
    if (typeof id !== 'string') return;
    for (const { keys, number } of this.#ofDocuments.get(id) ?? []) {
      const holder = keys.slice(0, -1).reduce<unknown>(memberOf, value);
      const key = keys.at(-1) as string;
      if (isObject(holder) && memberOf(holder, key) === number.value) this.#add(holder, key, number);
    }
  }

  /** Where what was read comes from, for an error about it: a few documents with their places. */
  origins(): string {
    const numbers = [...this.#ofDocuments].map(([id, [first]]) => `${id} at \`${first?.keys.join('.')}\``);
    return [...this.#deepDocuments, ...numbers].slice(0, MAX_ORIGINS).join(', ');
  }

  /** What of a stored value JavaScript cannot hold, with its path. */
  describe(value: unknown): [path: (string | number)[], message: string][] {
    const found: [(string | number)[], string][] = [];
    const open: { readonly value: unknown; readonly path: (string | number)[] }[] = [{ value, path: [] }];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      const { value: holder, path } = next;
      if (!isObject(holder)) continue;
      if (path.length >= MAX_DEPTH) {
        found.push([[], `nests deeper than ${MAX_DEPTH} levels`]);
        continue;
      }
      for (const key of Object.keys(holder)) {
        const step = [...path, Array.isArray(holder) ? Number(key) : key];
        if (this.textAt(holder, key) !== undefined) found.push([step, 'holds a number that JavaScript cannot hold']);
        open.push({ value: memberOf(holder, key), path: step });
      }
    }
    return found;
  }

  /** As `JSON.stringify`, with the numbers nothing has changed as Postgres wrote them. */
  stringify(value: unknown): string {
    const texts: string[] = [];
    const textAt = this.textAt.bind(this);
    const json = JSON.stringify(value, function (this: object, key, member: unknown) {
      const text = typeof member === 'number' ? textAt(this, key) : undefined;
      return text === undefined ? member : `${MARK}${texts.push(text) - 1}`;
    });
    return texts.length === 0 ? json : json.replace(new RegExp(`"${MARK}(\\d+)"`, 'g'), (_, at) => texts[at] as string);
  }

  #noteNumber(result: unknown, path: readonly (string | number)[], number: LossyNumber): void {
    let holder = result;
    let id: unknown;
    let keys: string[] = [];
    for (const [place, step] of path.entries()) {
      if (id === undefined) {
        id = memberOf(holder, 'id');
        keys = [];
      }
      keys.push(String(step));
      // A place in a list says nothing of a copy, whose list may be another.
      if (typeof step === 'number' && id !== undefined) id = null;
      if (place === path.length - 1 && isObject(holder)) this.#add(holder, String(step), number);
      holder = memberOf(holder, step);
    }
    if (typeof id !== 'string') return;
    const known = this.#ofDocuments.get(id) ?? [];
    known.push({ keys, number });
    this.#ofDocuments.set(id, known);
  }

  #add(holder: object, key: string, number: LossyNumber): void {
    const numbers: Numbers = this.#numbers.get(holder) ?? new Map();
    this.#numbers.set(holder, numbers.set(key, number));
  }

  #noteDeep(value: unknown): void {
    const open: { readonly value: unknown; readonly id: unknown; readonly depth: number }[] = [
      { value, id: undefined, depth: 0 },
    ];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      if (!isObject(next.value)) continue;
      this.#deep.add(next.value);
      const id = next.id ?? memberOf(next.value, 'id');
      const depth = typeof id === 'string' ? next.depth + 1 : 0;
      if (depth > MAX_DEPTH) this.#deepDocuments.add(String(id));
      for (const inner of Object.values(next.value)) open.push({ value: inner, id, depth });
    }
  }
}

/** Own members only, whatever they are called. */
function memberOf(holder: unknown, key: string | number): unknown {
  return isObject(holder) && Object.hasOwn(holder, key) ? (holder as Record<string | number, unknown>)[key] : undefined;
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
