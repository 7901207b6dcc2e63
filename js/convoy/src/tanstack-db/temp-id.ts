/** Ids of rows that a collection displays before the server has created their documents. */
import { TempIds } from '../client/temp-ids.js';
import type { Id } from '../values/ids.js';

/**
 * A temporary id for a row of `table` that is inserted into a collection. The mutation that creates the document gets it
 * in its option `tempIds`, so that `client.keyOf` returns it for the real id too, and later mutations may be called with
 * it.
 */
export function tempId<Table extends string>(table: Table): Id<Table> {
  // Sound where the id is only displayed, or sent to mutations, which replace it.
  return TempIds.create(table) as Id<Table>;
}
