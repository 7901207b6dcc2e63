// Messages and accounts as Convoy stores them: a document in a column of JSONB.
import { idOf } from './documents.mjs';
import * as sql from './statements.mjs';

export { sql };

export function document(row) {
  return { ...row.data, id: idOf(row), _creationTime: row.created_at.getTime() };
}

/** The parameters of `sql.insert`. */
export function insertValues(message) {
  return [{ ...message, likes: 0 }];
}

/** The parameters of `sql.insertMany`. */
export function insertManyValues(messages) {
  return [JSON.stringify(messages.map((message) => ({ ...message, likes: 0 })))];
}

/** The row with one more like, and the parameters of `sql.updateMessage` after the id. */
export function liked(row) {
  const data = { ...row.data, likes: row.data.likes + 1 };
  return { row: { ...row, data }, values: [data] };
}
