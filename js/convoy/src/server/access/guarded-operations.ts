/**
 * The operations of `ctx.db` on a table with access rules. A hidden document is absent: for reads, and for writes to it. A
 * visible one that must not be written is `FORBIDDEN`.
 *
 * What a rule is asked about is read for that, never taken from the cache of the call: a handler may have changed objects
 * inside of a document that it has read. What a write stores is copied before the rule is asked, and the rule gets a copy
 * of that copy: neither the handler nor the rule can change it any more.
 */

import { formatId } from '../../values/ids.js';
import type { Call } from '../call.js';
import type { DevWarnings } from '../dev-warnings.js';
import type { DocumentOperations, PageRange, TableOperations } from '../document-operations.js';
import type { Target } from '../document-ref.js';
import type { Document } from '../documents.js';
import { incrementBase, numberAt } from '../fields.js';
import type { Plan } from '../operations.js';
import type { Table } from '../program.js';
import type { Scope } from '../scope.js';
import type { Page } from '../table-query.js';
import { storedChanges, storedDocument } from '../validate-document.js';
import type { AccessControl } from './access-control.js';
import { decimalSum } from './decimal-sum.js';
import { VisibleRows } from './visible-rows.js';

/** What guarded operations need besides the rules. */
export interface GuardOptions {
  readonly call: Call;
  readonly documents: DocumentOperations;
  readonly warnings: DevWarnings | null;
}

export class GuardedOperations implements TableOperations {
  readonly #access: AccessControl;
  readonly #call: Call;
  readonly #documents: DocumentOperations;
  readonly #warnings: DevWarnings | null;

  constructor(access: AccessControl, { call, documents, warnings }: GuardOptions) {
    this.#access = access;
    this.#call = call;
    this.#documents = documents;
    this.#warnings = warnings;
  }

  read(scope: Scope, target: Target): Promise<Document | null> {
    return scope.track(this.#visible(scope, target.table, this.#documents.read(scope, target)));
  }

  async insert(scope: Scope, table: Table, document: object): Promise<string> {
    const [id] = await this.insertMany(scope, table, [document]);
    return id as string;
  }

  /** Not an async function: if the rule is synchronous, the inserts are issued at once, like those without rules. */
  insertMany(scope: Scope, table: Table, documents: readonly object[]): Promise<string[]> {
    const uuids = this.#documents.mintIds(documents.length);
    const kept = documents.map((document) => this.#copy(document));
    const checks = kept.map((document, index) => {
      const row = { id: formatId(table.name, uuids[index] as string), ...structuredClone(document) };
      table.fill?.(row);
      return this.#access.refusal('insert', scope, table, row);
    });
    const insert = (): Promise<string[]> => Promise.all(this.#documents.store(scope, table, uuids, kept));
    return checks.every((check) => check === null) ? insert() : Promise.all(checks).then(insert);
  }

  async patch(scope: Scope, target: Target, changes: object): Promise<Document | null> {
    const { table, uuid } = target;
    const before = await this.#before(scope, target);
    if (before === null) return null;
    this.#warnings?.stripped(table, changes);
    const { set: parsed, unset } = storedChanges(table, before, changes, this.#call.lossy);
    if (Object.keys(parsed).length === 0 && unset.length === 0) return before;
    const set = this.#copy(parsed);
    const after: Document = structuredClone({ ...before, ...set });
    for (const key of unset) delete after[key];
    await this.#assertUpdate(scope, table, before, after);
    return this.#documents.write(scope, target, { op: 'patch', table: table.name, id: uuid, set, unset });
  }

  async replace(scope: Scope, target: Target, input: unknown): Promise<Document | null> {
    const { table, uuid } = target;
    const before = await this.#before(scope, target);
    if (before === null) return null;
    const doc = this.#copy(storedDocument(table, input, before, this.#call.lossy));
    this.#warnings?.stripped(table, input);
    const { id, _creationTime } = before;
    await this.#assertUpdate(scope, table, before, structuredClone({ id, _creationTime, ...doc }));
    return this.#documents.write(scope, target, { op: 'replace', table: table.name, id: uuid, doc });
  }

  async increment(scope: Scope, target: Target, field: string, by: number): Promise<Document | null> {
    const before = await this.#before(scope, target);
    if (before === null) return null;
    const after = structuredClone(before);
    setNumber(after, field, (stored) => decimalSum(stored ?? incrementBase(target.table, field) ?? 0, by));
    await this.#assertUpdate(scope, target.table, before, after);
    return this.#documents.increment(scope, target, field, by);
  }

  async delete(scope: Scope, targets: readonly Target[]): Promise<boolean[]> {
    const found = await Promise.all(targets.map((target) => this.#before(scope, target)));
    const checks = targets.map(({ table }, index) => {
      const document = found[index] ?? null;
      return document === null ? null : this.#access.refusal('delete', scope, table, document);
    });
    // All are checked before the first is deleted.
    await Promise.all(checks);
    const visible = targets.filter((_, index) => found[index] !== null);
    const deleted = await this.#documents.delete(scope, visible);
    return targets.map((target) => deleted[visible.indexOf(target)] ?? false);
  }

  scan<T>(scope: Scope, table: Table, plan: Plan, finish: (documents: Document[]) => T): Promise<T> {
    const scan = async (): Promise<T> => {
      const [within, needsRule] = await this.#narrow(scope, table, plan);
      if (!needsRule) return this.#documents.scan(scope, table, within, finish);
      return finish(await this.#rows(scope, table, within).all());
    };
    return scope.track(scan());
  }

  count(scope: Scope, table: Table, plan: Plan): Promise<number> {
    const count = async (): Promise<number> => {
      const [within, needsRule] = await this.#narrow(scope, table, plan);
      if (!needsRule) return this.#documents.count(scope, table, within);
      return (await this.#rows(scope, table, within).all()).length;
    };
    return scope.track(count());
  }

  page(scope: Scope, table: Table, plan: Plan, range: PageRange): Promise<Page<Document>> {
    const page = async (): Promise<Page<Document>> => {
      const [within, needsRule] = await this.#narrow(scope, table, plan);
      if (!needsRule) return this.#documents.page(scope, table, within, range);
      return this.#rows(scope, table, within).page(range);
    };
    return scope.track(page());
  }

  /** The plan within the range of the rules, and whether `read` has to be asked about each document. */
  async #narrow(scope: Scope, table: Table, plan: Plan): Promise<[plan: Plan, needsRule: boolean]> {
    const within = await this.#access.range(scope, table);
    const needsRule = typeof table.definition.rules?.read === 'function';
    return [within === null ? plan : { ...plan, within }, needsRule];
  }

  #rows(scope: Scope, table: Table, plan: Plan): VisibleRows {
    const visible = (documents: Document[]) => this.#access.visible(scope, table, documents);
    return new VisibleRows(this.#documents, { scope, table, plan, visible });
  }

  /** A copy of what a write stores, with its lossy values. */
  #copy<T extends object>(stored: T): T {
    const copy = structuredClone(stored);
    this.#call.lossy?.carry(stored, copy);
    return copy;
  }

  /** The visible document to write to. */
  #before(scope: Scope, target: Target): Promise<Document | null> {
    return this.#visible(scope, target.table, this.#documents.readNow(scope, target));
  }

  async #visible(scope: Scope, table: Table, read: Promise<Document | null>): Promise<Document | null> {
    const document = await read;
    if (document === null) return null;
    const allowed = this.#access.allows('read', scope, table, document);
    return (typeof allowed === 'boolean' ? allowed : await allowed) ? document : null;
  }

  async #assertUpdate(scope: Scope, table: Table, before: Document, after: Document): Promise<void> {
    table.fill?.(after);
    await this.#access.refusal('update', scope, table, before, after);
  }
}

/** Sets the number at `path`, made of the one that is there, and creates the objects around it. */
function setNumber(document: Document, path: string, next: (stored: number | null) => number): void {
  const keys = path.split('.');
  let holder = document;
  for (const key of keys.slice(0, -1)) {
    const inner = Object.hasOwn(holder, key) ? holder[key] : undefined;
    if (typeof inner !== 'object' || inner === null) holder[key] = {};
    holder = holder[key] as Document;
  }
  const last = keys.at(-1) as string;
  holder[last] = next(typeof holder[last] === 'number' ? numberAt(holder, last) : null);
}
