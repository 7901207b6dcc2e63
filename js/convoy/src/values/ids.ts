/**
 * Document ids: `<table>:<uuid>`, branded with their table, so that an id is not accepted for another table.
 *
 * A uuid is read in any version and written in lower case, which is how Postgres prints it.
 */

/**
 * The id of a document of `Table`: the string `<table>:<uuid>`. The brand exists in types only; its key is a string,
 * not a unique symbol, since declaration files of users could not name that.
 */
export type Id<Table extends string = string> = `${Table}:${string}` & { readonly '~table': Table };

/** The input type for an `Id<Table>`: an id, or a literal with the prefix of its table. */
export type IdInput<Table extends string = string> = `${Table}:${string}`;

/** The two halves of an id. */
export interface IdParts {
  readonly table: string;
  readonly uuid: string;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** True for a bare uuid of any version. */
export function isUuid(value: unknown): value is string {
  return typeof value === 'string' && value.length === 36 && UUID.test(value);
}

/** The id of the document `uuid` in `table`. The uuid must be valid (see `isUuid`). */
export function formatId<Table extends string>(table: Table, uuid: string): Id<Table> {
  return `${table}:${uuid.toLowerCase()}` as Id<Table>;
}

/**
 * The id of the document that has `uuid` in `table`, from a bare uuid as `raw` returns it. Throws for an invalid uuid.
 */
export function idOf<Table extends string>(table: Table, uuid: string): Id<Table> {
  if (isUuid(uuid)) return formatId(table, uuid);
  const given: string = JSON.stringify(String(uuid).slice(0, 80));
  const hint = parseId(uuid) === null ? '' : ', which is an id already';
  throw new TypeError(`idOf('${table}', …) takes the bare uuid of a document, not ${given}${hint}.`);
}

/** Table and uuid of an id, or `null` where `value` is not an id of any table. */
export function parseId(value: unknown): IdParts | null {
  if (typeof value !== 'string') return null;
  const colon = value.length - 37;
  if (colon < 1 || value[colon] !== ':') return null;
  const uuid = value.slice(colon + 1);
  return UUID.test(uuid) ? { table: value.slice(0, colon), uuid: uuid.toLowerCase() } : null;
}

/** True when `value` is an id of `table`. */
export function isIdOf<Table extends string>(table: Table, value: unknown): value is Id<Table> {
  return parseId(value)?.table === table;
}
