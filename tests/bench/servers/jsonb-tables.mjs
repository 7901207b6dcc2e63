// Messages and accounts as Convoy stores them: a document in a column of JSONB.
import { idOf } from './documents.mjs';
import * as sql from './statements.mjs';

export { sql };

export function document(row) {
  return { ...row.data, id: idOf(row), _creationTime: row.created_at.getTime() };
}

/** What `sql.insert` takes. */
export function insertValues(message) {
  return [{ ...message, likes: 0 }];
}

/** What `sql.insertMany` takes. */
export function insertManyValues(messages) {
  return [JSON.stringify(messages.map((message) => ({ ...message, likes: 0 })))];
}

/** The row with one like more, and what `sql.updateMessage` takes beside its id. */
export function liked(row) {
  const data = { ...row.data, likes: row.data.likes + 1 };
  return { row: { ...row, data }, values: [data] };
}
