/**
 * Says which stored documents do not fit the schema that was just loaded: in the background, each table once for each
 * schema of it. What it finds is the same that `checkDocuments` gives.
 */

import { unwrapEnvelope } from './engine-errors.js';
import type { LoadReport } from './native.js';
import { CHECK_NAME, type CheckArguments, type Checked, type Misfit, type SampleOfTable } from './stored-documents.js';

/** The documents of a table that do not fit its schema. */
export interface TableMisfits {
  readonly table: string;
  /** How many documents were looked at. */
  readonly documents: number;
  /** False where the table holds more than that; then those looked at are random. */
  readonly isWhole: boolean;
  /** How many of them do not fit. */
  readonly unfit: number;
  /** In which ways, the most frequent first. */
  readonly misfits: readonly Misfit[];
  /** Fields these documents have which the schema does not know. */
  readonly unknown: readonly string[];
  /**
   * Where documents that fit have fields which the schema does not know, and all of them lack some that it knows: perhaps
   * a field with a default, or an optional one, was renamed. Otherwise both are empty.
   */
  readonly renamed: { readonly from: readonly Misfit[]; readonly to: readonly string[] };
  /** What of the documents looked at JavaScript cannot hold, whether they fit or not. */
  readonly odd: readonly Misfit[];
}

/** Makes a trusted call with an empty context; gives its envelope. */
export type MakeCall = (name: string, input: string) => Promise<string>;

/** How many documents one call looks at, so that a thread does other things in between. */
const PORTION = 100;

/** Ways of a table that are listed. */
const MAX_LISTED = 8;

export class SchemaCheck {
  readonly #call: MakeCall;
  readonly #warn: (message: string) => void;
  /** The schema each table was checked by. */
  readonly #checked = new Map<string, string>();
  /** Counts loads: a newer one ends the check of an older. */
  #load = 0;
  #running: Promise<void> = Promise.resolve();

  constructor(call: MakeCall, warn: (message: string) => void) {
    this.#call = call;
    this.#warn = warn;
  }

  /** Begins to look at the tables of what was loaded, without waiting. */
  begin({ tables }: LoadReport): void {
    const load = ++this.#load;
    const names = Object.keys(tables).filter((name) => tables[name]?.nonEmpty === true);
    this.#running = this.#running.then(() => this.#look(names, load));
  }

  /** Begins no further call. */
  stop(): void {
    this.#load++;
  }

  /** What does not fit, by table; tables where everything fits are left out. */
  async all({ tables }: LoadReport): Promise<TableMisfits[]> {
    const found: TableMisfits[] = [];
    for (const table of Object.keys(tables).sort()) {
      const misfits = await this.#checkTable(table, await this.#sample(table), () => false);
      if (misfits !== null && misfits.unfit + misfits.odd.length + misfits.renamed.from.length > 0) found.push(misfits);
    }
    return found;
  }

  async #look(names: readonly string[], load: number): Promise<void> {
    const isOver = (): boolean => load !== this.#load;
    for (const table of names) {
      if (isOver()) return;
      try {
        const sample = await this.#sample(table, this.#checked.get(table));
        if (this.#checked.get(table) === sample.schema) continue;
        const misfits = await this.#checkTable(table, sample, isOver);
        if (misfits === null) return;
        this.#checked.set(table, sample.schema);
        if (misfits.unfit > 0) this.#warn(describeMisfits(misfits));
        if (misfits.renamed.from.length > 0) this.#warn(describeRenamed(misfits));
      } catch (error) {
        if (!isOver()) this.#warn(`${table}: its documents could not be compared with the schema: ${String(error)}`);
      }
    }
  }

  /** `null` where it was over before it was done. */
  async #checkTable(table: string, sample: SampleOfTable, isOver: () => boolean): Promise<TableMisfits | null> {
    const misfits = new Map<string, Misfit>();
    const odd = new Map<string, Misfit>();
    const unknown = new Set<string>();
    const forgotten = new Map<string, Misfit>();
    const absent: (readonly string[])[] = [];
    let [documents, unfit] = [0, 0];
    for (let at = 0; at < sample.ids.length; at += PORTION) {
      if (isOver()) return null;
      const found = (await this.#ask({ table, ids: sample.ids.slice(at, at + PORTION) })) as Checked;
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
    const facts = { table, documents, isWhole: sample.isWhole, unfit, unknown: [...unknown].sort(), renamed };
    return { ...facts, misfits: mostFrequentFirst(misfits), odd: mostFrequentFirst(odd) };
  }

  async #sample(table: string, known?: string): Promise<SampleOfTable> {
    return (await this.#ask({ table, known })) as SampleOfTable;
  }

  async #ask(args: CheckArguments): Promise<unknown> {
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

/** The warning about a table, in several lines. */
export function describeMisfits({ table, documents, isWhole, unfit, misfits, unknown }: TableMisfits): string {
  const number = (count: number): string => count.toLocaleString('en-US');
  const of = isWhole ? `${number(documents)}` : `${number(documents)} sampled`;
  const lines = [`${table}: ${number(unfit)} of ${of} stored documents do not fit the schema:`];
  for (const { path, message, count, example } of misfits.slice(0, MAX_LISTED)) {
    lines.push(
      `  ${path === '' ? '' : `${path}: `}${message} (${number(count)} of ${number(documents)}, such as ${example})`,
    );
  }
  if (misfits.length > MAX_LISTED) lines.push(`  and ${misfits.length - MAX_LISTED} more ways`);
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

/** The warning that fields of a table look renamed, although everything fits. */
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
    '  or with SQL, or keep the old name. Otherwise remove the old values, or leave them: nothing reads them.',
  );
  return lines.join('\n');
}
