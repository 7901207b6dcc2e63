/** A model of the tables of `program.ts` and their policies, written independently of them: documents in memory. */
import type { StepResult } from '../access/app.js';
import { type Row, resultOf } from '../access/model.js';
import type { Step } from '../access/program.js';
import type { WalkedModel } from '../access/walk.js';

type User = string | null;
type Table = 'notes' | 'tasks';

const FORBIDDEN: StepResult = {
  error: {
    code: 'FORBIDDEN',
    message: 'The row-level security policies of the database do not allow this write.',
  },
};

export class RowSecurityModel implements WalkedModel {
  /** In the order of their creation. */
  readonly rows: Record<Table, Row[]> = { notes: [], tasks: [] };
  /** `team/user`. */
  readonly members = new Set<string>();

  /** The result of `step` for `user`, and its effect on the model; `ids` are the ids of the inserted rows. */
  run(user: User, table: Table, step: Step, ids: readonly string[]): StepResult {
    if (step.query !== undefined) {
      return {
        ok: resultOf(
          step,
          this.rows[table].filter((row) => this.#isVisible(user, table, row)),
        ),
      };
    }
    const [first, second] = step.args as [string, Partial<Row>];
    switch (step.do) {
      case 'get':
        return { ok: this.#visible(user, table, first) };
      case 'getMany':
        return { ok: (step.args[0] as string[]).map((id) => this.#visible(user, table, id)) };
      case 'insert':
        return this.#insert(user, table, [second as Row], ids, ([id]) => id);
      case 'insertMany':
        return this.#insert(user, table, step.args[1] as Row[], ids, (all) => all);
      case 'patch':
        // Without a change, it reads.
        if (Object.keys(second).length === 0) return { ok: this.#visible(user, table, first) };
        return this.#update(user, table, first, (row) => ({ ...row, ...second }));
      case 'replace':
        return this.#update(user, table, first, ({ id }) => ({ ...defaults(table), ...(second as Row), id }));
      case 'increment':
        return this.#update(user, table, first, (row) => ({ ...row, rank: row.rank + (step.args[2] as number) }));
      case 'delete':
        return { ok: this.#delete(user, table, [first]) === 1 };
      case 'deleteMany':
        return { ok: this.#delete(user, table, step.args[1] as string[]) };
      default:
        throw new Error(step.do);
    }
  }

  #isVisible(user: User, table: Table, row: Row): boolean {
    if (row.owner === user) return true;
    return table === 'notes' && (row.published === true || this.members.has(`${row.team}/${user}`));
  }

  #visible(user: User, table: Table, id: string): Row | null {
    return this.rows[table].find((row) => row.id === id && this.#isVisible(user, table, row)) ?? null;
  }

  #mayStore(user: User, table: Table, row: Row): boolean {
    return row.owner === user && (table === 'tasks' || row.rank <= 100);
  }

  #insert(
    user: User,
    table: Table,
    documents: readonly Row[],
    ids: readonly string[],
    result: (ids: readonly string[]) => unknown,
  ): StepResult {
    // The policy for inserts of notes has no limit on the rank.
    if (documents.some(({ owner }) => owner !== user)) return FORBIDDEN;
    this.rows[table].push(...documents.map((row, at) => ({ ...defaults(table), ...row, id: ids[at] as string })));
    return { ok: result(ids) };
  }

  #update(user: User, table: Table, id: string, change: (row: Row) => Row): StepResult {
    // Only the owner may update a row, also if others see it.
    const at = this.rows[table].findIndex((row) => row.id === id && row.owner === user);
    const before = this.rows[table][at];
    if (before === undefined) return { ok: null };
    const after = change(before);
    if (!this.#mayStore(user, table, after)) return FORBIDDEN;
    this.rows[table][at] = after;
    return { ok: after };
  }

  #delete(user: User, table: Table, ids: readonly string[]): number {
    const before = this.rows[table].length;
    this.rows[table] = this.rows[table].filter((row) => row.owner !== user || !ids.includes(row.id));
    return before - this.rows[table].length;
  }
}

function defaults(table: Table): Partial<Row> {
  return table === 'notes' ? { published: false } : {};
}
