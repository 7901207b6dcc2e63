// Messages and accounts as usual without Convoy: a column per field.
import { idOf } from './documents.mjs';
import * as jsonb from './statements.mjs';

const COLUMNS = 'id, created_at, channel, author, text, likes';

/** The same statements under the same names. */
export const sql = {
  ...jsonb,
  get: { name: 'get', text: `select ${COLUMNS} from messages where id = $1::uuid` },
  getMany: { name: 'get-many', text: `select ${COLUMNS} from messages where id = any($1::uuid[])` },
  newest: {
    name: 'newest',
    text: `
      select ${COLUMNS}
      from messages
      where channel = $1
      order by created_at desc, id desc
      limit ${jsonb.LIMIT}`,
  },
  insert: {
    name: 'insert',
    text: `
      insert into messages (id, channel, author, text)
      values (uuidv7(), $1, $2, $3)
      returning id`,
  },
  insertMany: {
    name: 'insert-many',
    text: `
      insert into messages (id, channel, author, text)
      select uuidv7(), channel, author, text
      from unnest($1::text[], $2::text[], $3::text[]) as message (channel, author, text)
      returning id`,
  },
  lockMessage: { name: 'lock-message', text: `select ${COLUMNS} from messages where id = $1::uuid for update` },
  updateMessage: {
    name: 'update-message',
    text: 'update messages set likes = $2, updated_at = now() where id = $1::uuid',
  },
  balances: {
    name: 'balances',
    text: 'select id, balance from accounts where id in ($1::uuid, $2::uuid)',
  },
  lockBalances: {
    name: 'lock-balances',
    text: 'select id, balance from accounts where id in ($1::uuid, $2::uuid) order by id for update',
  },
  move: {
    name: 'move',
    text: `
      update accounts
      set
        balance = balance + case id when $1::uuid then -$3::int else $3::int end,
        updated_at = now()
      where id in ($1::uuid, $2::uuid)`,
  },
};

export function document(row) {
  const { channel, author, text, likes } = row;
  return { channel, author, text, likes, id: idOf(row), _creationTime: row.created_at.getTime() };
}

/** The parameters of `sql.insert`. */
export function insertValues({ channel, author, text }) {
  return [channel, author, text];
}

/** The parameters of `sql.insertMany`. */
export function insertManyValues(messages) {
  return ['channel', 'author', 'text'].map((field) => messages.map((message) => message[field]));
}

/** The row with one more like, and the parameters of `sql.updateMessage` after the id. */
export function liked(row) {
  const likes = row.likes + 1;
  return { row: { ...row, likes }, values: [likes] };
}
