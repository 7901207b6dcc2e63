/**
 * Lossy values: parts of stored documents that JavaScript cannot represent (numbers that no double equals, and very deep
 * nesting), which a call passes on as Postgres wrote them.
 *
 * A handler receives the nearest double, as from `JSON.parse`, or `Infinity` if the number is too large. As long as the
 * handler does not change it, the original text is sent and stored. Almost no call reads such a document, so a
 * `LossyValues` is only created when one does.
 */

import { randomUUID } from 'node:crypto';
import { type LossyText, MAX_DEPTH } from '../values/json.js';

/** The lossy values of a result, as reported by the engine. */
export interface LossyAnswer {
  /** The paths of numbers that no double equals, and their texts. */
  readonly numbers?: readonly (readonly [path: readonly (string | number)[], text: string])[];
  /** True if the nesting of the result is close to or above the limit for sending. */
  readonly deep?: boolean;
}

interface LossyNumber {
  readonly value: number;
  readonly text: string;
}

/** By key; for an array, by index. */
type Numbers = Map<string, LossyNumber>;

/** A number of a document, and its path through objects. */
interface NumberOfDocument {
  readonly keys: readonly string[];
  readonly number: LossyNumber;
}

/** The number of documents named by an error. */
const MAX_ORIGINS = 3;

/** Replaces a lossy number while JSON is made. Random, so that no string of a document contains it. */
const PLACEHOLDER = randomUUID();

export class LossyValues implements LossyText {
  readonly #numbers = new WeakMap<object, Numbers>();
  /** The same by document id, because a copy (`{ ...document }`) can only be recognized by its id. */
  readonly #ofDocuments = new Map<string, NumberOfDocument[]>();
  readonly #deep = new WeakSet<object>();
  /** Ids of documents nested more deeply than Convoy allows. */
  readonly #deepDocuments = new Set<string>();

  /** Records the lossy values of `result`, which was just parsed. */
  note(result: unknown, { numbers = [], deep = false }: LossyAnswer): void {
    for (const [path, text] of numbers) this.#noteNumber(result, path, { value: Number(text), text });
    if (deep) this.#noteDeep(result);
  }

  textAt(holder: object, key: string | number): string | undefined {
    const number = this.#numbers.get(holder)?.get(String(key));
    // If the handler has put another value there, the original text no longer applies.
    return number !== undefined && memberOf(holder, key) === number.value ? number.text : undefined;
  }

  isStored(value: object): boolean {
    return this.#deep.has(value);
  }

  /** Copies the lossy values of `from` to `to`, made of it by a schema or by JSON, wherever the number is unchanged. */
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

  /** Recognizes copies of documents in `value` by their ids, and restores the texts of numbers they left unchanged. */
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

  /** The same for a `value` known to be a copy of the document `id`. */
  adoptAs(id: unknown, value: object): void {
    if (typeof id !== 'string') return;
    for (const { keys, number } of this.#ofDocuments.get(id) ?? []) {
      const holder = keys.slice(0, -1).reduce<unknown>(memberOf, value);
      const key = keys.at(-1) as string;
      if (isObject(holder) && memberOf(holder, key) === number.value) this.#add(holder, key, number);
    }
  }

  /** A few documents with the paths of their lossy values, for an error message. */
  origins(): string {
    const numbers = [...this.#ofDocuments].map(([id, [first]]) => `${id} at \`${first?.keys.join('.')}\``);
    return [...this.#deepDocuments, ...numbers].slice(0, MAX_ORIGINS).join(', ');
  }

  /** The lossy values inside a stored value, with their paths. */
  describe(value: unknown): [path: (string | number)[], message: string][] {
    const found: [(string | number)[], string][] = [];
    const open: { readonly value: unknown; readonly path: (string | number)[] }[] = [{ value, path: [] }];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      const { value: holder, path } = next;
      if (!isObject(holder)) continue;
      if (path.length >= MAX_DEPTH) {
        found.push([[], `is nested deeper than ${MAX_DEPTH} levels`]);
        continue;
      }
      for (const key of Object.keys(holder)) {
        const step = [...path, Array.isArray(holder) ? Number(key) : key];
        if (this.textAt(holder, key) !== undefined)
          found.push([step, 'holds a number that JavaScript cannot represent']);
        open.push({ value: memberOf(holder, key), path: step });
      }
    }
    return found;
  }

  /** As `JSON.stringify`, but unchanged lossy numbers are written as Postgres wrote them. */
  stringify(value: unknown): string {
    const texts: string[] = [];
    const textAt = this.textAt.bind(this);
    const json = JSON.stringify(value, function (this: object, key, member: unknown) {
      const text = typeof member === 'number' ? textAt(this, key) : undefined;
      return text === undefined ? member : `${PLACEHOLDER}${texts.push(text) - 1}`;
    });
    if (texts.length === 0) return json;
    return json.replace(new RegExp(`"${PLACEHOLDER}(\\d+)"`, 'g'), (_, index) => texts[index] as string);
  }

  #noteNumber(result: unknown, path: readonly (string | number)[], number: LossyNumber): void {
    let holder = result;
    let id: unknown;
    let keys: string[] = [];
    for (const [index, step] of path.entries()) {
      if (id === undefined) {
        id = memberOf(holder, 'id');
        keys = [];
      }
      keys.push(String(step));
      // An index does not identify the element in a copy, whose array may be another.
      if (typeof step === 'number' && id !== undefined) id = null;
      if (index === path.length - 1 && isObject(holder)) this.#add(holder, String(step), number);
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

/** The value of an own member, also of one named like a member of the prototype. */
function memberOf(holder: unknown, key: string | number): unknown {
  return isObject(holder) && Object.hasOwn(holder, key) ? (holder as Record<string | number, unknown>)[key] : undefined;
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
