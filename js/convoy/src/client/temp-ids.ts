/**
 * Ids that optimistic updates give to documents which the server has not created yet. When the mutation is committed,
 * its result contains the real id, which then takes the place of the temporary one in arguments, and has the same key.
 */
import { randomHex } from './idempotency-key.js';

/** How many ids are remembered; the oldest are forgotten. */
export const MAX_IDS = 1_000;

const TEMP_ID = /"\w+:new-[0-9a-f]{16}"/;

export class TempIds {
  readonly #realOf = new Map<string, string>();
  readonly #keyOf = new Map<string, string>();

  static create(table: string): string {
    return `${table}:new-${randomHex(8)}`;
  }

  /** The same for a document's temporary id and its real one: a key that does not change when the real one comes. */
  keyOf(id: string): string {
    return this.#keyOf.get(id) ?? id;
  }

  /**
   * Assigns the ids in a mutation's result to the temporary ids of its optimistic update: of each table, in order.
   * `isDisplayed`: the real ids may be displayed already, and keep their own keys.
   */
  resolve(tempIds: readonly string[], result: unknown, isDisplayed: boolean): void {
    const assigned = tempIds.map((tempId) => this.#realOf.get(tempId));
    const unassigned = idsIn(result).filter((id) => !assigned.includes(id));
    for (const tempId of tempIds) {
      const table = tempId.slice(0, tempId.indexOf(':') + 1);
      const at = unassigned.findIndex((id) => id.startsWith(table));
      if (at === -1 || this.#realOf.has(tempId)) continue;
      const [id = ''] = unassigned.splice(at, 1);
      remember(this.#realOf, tempId, id);
      if (!isDisplayed) remember(this.#keyOf, id, tempId);
    }
  }

  /** Whether arguments have a temporary id whose document was not created. */
  static isIn(args: string): boolean {
    return TEMP_ID.test(args);
  }

  /** The JSON of arguments, with the real ids in place of temporary ones. */
  replaceIn(args: string): string {
    return args.replace(new RegExp(TEMP_ID, 'g'), (text) => {
      const id = this.#realOf.get(text.slice(1, -1));
      return id === undefined ? text : JSON.stringify(id);
    });
  }
}

/** The ids in a result: an id, a document, or a list of them. */
function idsIn(result: unknown): string[] {
  if (typeof result === 'string') return [result];
  if (Array.isArray(result)) return result.flatMap((element) => (Array.isArray(element) ? [] : idsIn(element)));
  const id = (result as { id?: unknown } | null)?.id;
  return typeof id === 'string' ? [id] : [];
}

function remember(map: Map<string, string>, key: string, value: string): void {
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > MAX_IDS && oldest !== undefined) map.delete(oldest);
}
