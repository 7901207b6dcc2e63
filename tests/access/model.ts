/** A model of the tables of `program.ts` and their rules, written independently of them: documents in memory. */
import type { StepResult } from './app.js';
import type { Step } from './program.js';

export interface Row {
  readonly id: string;
  readonly owner: string;
  readonly rank: number;
  /** Of notes. */
  readonly slug?: string;
  readonly team?: string | null;
  readonly published?: boolean;
}

type User = string | null;
type Table = 'notes' | 'tasks';

export class AccessModel {
  /** In the order of their creation. */
  readonly rows: Record<Table, Row[]> = { notes: [], tasks: [] };
  /** `team/user`. */
  readonly members = new Set<string>();

  isVisible(user: User, table: Table, row: Row): boolean {
    if (user !== null && row.owner === user) return true;
    return table === 'notes' && (row.published === true || this.#isMember(user, row.team ?? null));
  }

  /** The result of `step` for `user`, and its effect on the model; `ids` are the ids of the inserted rows. */
  run(user: User, table: Table, step: Step, ids: readonly string[]): StepResult {
    if (step.query !== undefined) {
      return {
        ok: resultOf(
          step,
          this.rows[table].filter((row) => this.isVisible(user, table, row)),
        ),
      };
    }
    const [first, second] = step.args;
    switch (step.do) {
      case 'get':
        return { ok: this.#find(user, table, first) };
      case 'getMany':
        return { ok: (first as string[]).map((id) => this.#find(user, table, id)) };
      case 'insert':
        return this.#insert(user, table, [second as Row], ids, (inserted) => inserted[0]);
      case 'insertMany':
        return this.#insert(user, table, second as Row[], ids, (inserted) => inserted);
      case 'patch':
        // Without a change, it reads.
        if (Object.keys(second as object).length === 0) return { ok: this.#find(user, table, first) };
        return this.#update(user, table, first, (row) => ({ ...row, ...(second as object) }));
      case 'replace':
        return this.#update(user, table, first, ({ id }) => ({ ...defaults(table), ...(second as Row), id }));
      case 'increment':
        return this.#update(user, table, first, (row) => ({ ...row, rank: row.rank + (step.args[2] as number) }));
      case 'delete':
        return this.#delete(user, table, [first], (count) => count === 1);
      case 'deleteMany':
        return this.#delete(user, table, second as string[], (count) => count);
      default:
        throw new Error(step.do);
    }
  }

  #isMember(user: User, team: string | null): boolean {
    return team !== null && this.members.has(`${team}/${user}`);
  }

  #find(user: User, table: Table, id: unknown): Row | null {
    return this.rows[table].find((row) => row.id === id && this.isVisible(user, table, row)) ?? null;
  }

  #insert(
    user: User,
    table: Table,
    documents: readonly Row[],
    ids: readonly string[],
    result: (ids: readonly string[]) => unknown,
  ): StepResult {
    const allowed = documents.every(
      ({ owner, team = null }) => owner === user && (table === 'tasks' || team === null || this.#isMember(user, team)),
    );
    if (!allowed) return forbidden(table);
    this.rows[table].push(...documents.map((row, at) => ({ ...defaults(table), ...row, id: ids[at] as string })));
    return { ok: result(ids) };
  }

  #update(user: User, table: Table, id: unknown, change: (row: Row) => Row): StepResult {
    const before = this.#find(user, table, id);
    if (before === null) return { ok: null };
    const after = change(before);
    const isOwner = before.owner === user;
    const allowed =
      before.owner === after.owner &&
      (table === 'tasks' ? isOwner : after.rank <= 100 && (isOwner || this.#isMember(user, before.team ?? null)));
    if (!allowed) return forbidden(table);
    this.rows[table] = this.rows[table].map((row) => (row === before ? after : row));
    return { ok: after };
  }

  #delete(user: User, table: Table, ids: readonly unknown[], result: (count: number) => unknown): StepResult {
    const found = [...new Set(ids)].map((id) => this.#find(user, table, id)).filter((row) => row !== null);
    if (found.some(({ owner }) => owner !== user)) return forbidden(table);
    this.rows[table] = this.rows[table].filter((row) => !found.includes(row));
    return { ok: result(found.length) };
  }
}

/** The result of a query over the visible rows of its table. */
export function resultOf(step: Step, visible: readonly Row[]): unknown {
  let rows = [...visible];
  let [limit, offset] = [Number.POSITIVE_INFINITY, 0];
  for (const [method, ...args] of step.query ?? []) {
    // The sort is stable, and ties are in the order of creation.
    if (method === 'withIndex') rows = [...rows].sort((a, b) => a.rank - b.rank);
    if (method === 'order' && args[0] === 'desc') rows = [...rows].reverse();
    if (method === 'limit') limit = args[0] as number;
    if (method === 'offset') offset = args[0] as number;
    const [{ filter } = {}] = args as [{ filter?: [keyof Row, unknown] }?];
    if (method === 'filter' && filter !== undefined) rows = rows.filter((row) => row[filter[0]] === filter[1]);
  }
  const within = rows.slice(offset, offset + limit);
  if (step.do === 'count') return within.length;
  if (step.do === 'first') return within[0] ?? null;
  return step.do === 'take' ? within.slice(0, step.args[0] as number) : within;
}

const defaults = (table: Table) => (table === 'notes' ? { published: false } : {});

const forbidden = (table: Table): StepResult => ({
  error: {
    code: 'FORBIDDEN',
    message: `The access rules of ${table} do not allow this write.`,
    details: { table },
  },
});
