/**
 * Warns about stored documents that do not fit the schema just loaded: in the background, each table once per version of
 * its schema. `checkDocuments` returns the same findings as data.
 */

import { unwrapEnvelope } from './engine-errors.js';
import type { LoadReport } from './native.js';
import {
  CHECK_NAME,
  type CheckArguments,
  type CheckResult,
  type Misfit,
  type TableSample,
} from './stored-documents.js';

/** The documents of a table that do not fit its schema. */
export interface TableMisfits {
  readonly table: string;
  /** The number of checked documents. */
  readonly documents: number;
  /** False if the table has more documents; the checked ones are then a random sample. */
  readonly isWhole: boolean;
  /** The number of documents that do not fit. */
  readonly unfit: number;
  /** The problems of these documents, the most frequent first. */
  readonly misfits: readonly Misfit[];
  /** Fields of these documents that are not in the schema. */
  readonly unknown: readonly string[];
  /**
   * Probably renamed fields: documents that fit have the fields `from`, which are not in the schema, and all of them lack
   * the fields `to`, which are optional or have a default. Otherwise both are empty.
   */
  readonly renamed: { readonly from: readonly Misfit[]; readonly to: readonly string[] };
  /** Values of checked documents, fitting or not, that JavaScript cannot represent. */
  readonly odd: readonly Misfit[];
}

/** Makes a trusted call with an empty context; resolves to its envelope. */
export type MakeCall = (name: string, input: string) => Promise<string>;

/** The number of documents checked by one call, so that the thread can run other calls in between. */
const BATCH_SIZE = 100;

/** The number of problems or fields that a warning lists. */
const MAX_LISTED = 8;

export class SchemaCheck {
  readonly #call: MakeCall;
  readonly #warn: (message: string) => void;
  /** By table: the hash of the schema it was last checked with. */
  readonly #checked = new Map<string, string>();
  /** The number of loads; a newer load cancels the check of an older one. */
  #loadCount = 0;
  #running: Promise<void> = Promise.resolve();

  constructor(call: MakeCall, warn: (message: string) => void) {
    this.#call = call;
    this.#warn = warn;
  }

  /** Starts checking the tables of a loaded program in the background. */
  begin({ tables }: LoadReport): void {
    const load = ++this.#loadCount;
    const names = Object.keys(tables).filter((name) => tables[name]?.nonEmpty === true);
    this.#running = this.#running.then(() => this.#checkTables(names, load));
  }

  /** Cancels the running check; no further call is made. */
  stop(): void {
    this.#loadCount++;
  }

  /** Checks all tables and returns those with findings. */
  async all({ tables }: LoadReport): Promise<TableMisfits[]> {
    const found: TableMisfits[] = [];
    for (const table of Object.keys(tables).sort()) {
      const misfits = await this.#checkTable(table, await this.#sample(table), () => false);
      if (misfits !== null && misfits.unfit + misfits.odd.length + misfits.renamed.from.length > 0) found.push(misfits);
    }
    return found;
  }

  async #checkTables(names: readonly string[], load: number): Promise<void> {
    const isStale = (): boolean => load !== this.#loadCount;
    for (const table of names) {
      if (isStale()) return;
      try {
        const sample = await this.#sample(table, this.#checked.get(table));
        if (this.#checked.get(table) === sample.schema) continue;
        const misfits = await this.#checkTable(table, sample, isStale);
        if (misfits === null) return;
        this.#checked.set(table, sample.schema);
        if (misfits.unfit > 0) this.#warn(describeMisfits(misfits));
        if (misfits.renamed.from.length > 0) this.#warn(describeRenamed(misfits));
      } catch (error) {
        if (!isStale()) this.#warn(`${table}: its documents could not be compared with the schema: ${String(error)}`);
      }
    }
  }

  /** Checks the sampled documents of a table; `null` if the check was cancelled. */
  async #checkTable(table: string, sample: TableSample, isStale: () => boolean): Promise<TableMisfits | null> {
    const misfits = new Map<string, Misfit>();
    const odd = new Map<string, Misfit>();
    const unknown = new Set<string>();
    const forgotten = new Map<string, Misfit>();
    const absent: (readonly string[])[] = [];
    let [documents, unfit] = [0, 0];
    for (let at = 0; at < sample.ids.length; at += BATCH_SIZE) {
      if (isStale()) return null;
      const found = (await this.#callCheck({ table, ids: sample.ids.slice(at, at + BATCH_SIZE) })) as CheckResult;
      documents += found.documents;
      unfit += found.unfit;
      for (const key of found.unknown) unknown.add(key);
      for (const misfit of found.misfits) addTo(misfits, misfit);
      for (const misfit of found.odd) addTo(odd, misfit);
      for (const misfit of found.forgotten) addTo(forgotten, misfit);
      absent.push(found.absent);
    }
    const to = absent[0]?.filter((key) => absent.every((keys) => keys.includes(key))) ?? [];
    const isRenamed = forgotten.size > 0 && to.length > 0;
    const renamed = isRenamed ? { from: mostFrequentFirst(forgotten), to } : { from: [], to: [] };
    const counts = { table, documents, isWhole: sample.isWhole, unfit, unknown: [...unknown].sort(), renamed };
    return { ...counts, misfits: mostFrequentFirst(misfits), odd: mostFrequentFirst(odd) };
  }

  async #sample(table: string, known?: string): Promise<TableSample> {
    return (await this.#callCheck({ table, known })) as TableSample;
  }

  async #callCheck(args: CheckArguments): Promise<unknown> {
    return unwrapEnvelope(await this.#call(CHECK_NAME, JSON.stringify(args)));
  }
}

function addTo(all: Map<string, Misfit>, misfit: Misfit): void {
  const key = `${misfit.path}\n${misfit.message}`;
  const before = all.get(key);
  all.set(key, before === undefined ? misfit : { ...before, count: before.count + misfit.count });
}

function mostFrequentFirst(all: Map<string, Misfit>): Misfit[] {
  return [...all.values()].sort((a, b) => b.count - a.count);
}

/** The warning about documents of a table that do not fit, in several lines. */
export function describeMisfits({ table, documents, isWhole, unfit, misfits, unknown }: TableMisfits): string {
  const number = (count: number): string => count.toLocaleString('en-US');
  const of = isWhole ? `${number(documents)}` : `${number(documents)} sampled`;
  const lines = [`${table}: ${number(unfit)} of ${of} stored documents do not fit the schema:`];
  for (const { path, message, count, example } of misfits.slice(0, MAX_LISTED)) {
    lines.push(
      `  ${path === '' ? '' : `${path}: `}${message} (${number(count)} of ${number(documents)}, such as ${example})`,
    );
  }
  if (misfits.length > MAX_LISTED) lines.push(`  and ${misfits.length - MAX_LISTED} more problems`);
  if (unknown.length > 0) {
    const names = unknown.slice(0, MAX_LISTED).map((key) => `\`${key}\``);
    lines.push(`  They hold ${names.join(', ')}, which the schema does not know. Was a field renamed?`);
  }
  lines.push(
    '  Queries return these documents as they are stored, and patching one fails until it fits. Make the field optional,',
    '  give it a constant default, or change the documents in a mutation or with SQL.',
  );
  return lines.join('\n');
}

/** The warning that fields of a table were probably renamed, although the documents fit. */
export function describeRenamed({ table, documents, isWhole, renamed: { from, to } }: TableMisfits): string {
  const number = (count: number): string => count.toLocaleString('en-US');
  const names = (keys: readonly string[]): string => {
    const listed = keys.slice(0, MAX_LISTED).map((key) => `\`${key}\``);
    return `${listed.join(', ')}${keys.length > MAX_LISTED ? ` and ${keys.length - MAX_LISTED} more` : ''}`;
  };
  const lines = [`${table}: stored documents have fields which the schema does not know:`];
  for (const { path, count, example } of from.slice(0, MAX_LISTED)) {
    const of = `${number(documents)}${isWhole ? '' : ' sampled'}`;
    lines.push(`  ${path}: in ${number(count)} of ${of}, such as ${example}`);
  }
  if (from.length > MAX_LISTED) lines.push(`  and ${from.length - MAX_LISTED} more fields`);
  lines.push(
    `  None of these documents has ${names(to)}. Was a field renamed? Then copy its values to the new name, in a mutation`,
    '  or with SQL, or keep the old name. Otherwise remove the old values, or leave them: they are not read.',
  );
  return lines.join('\n');
}
