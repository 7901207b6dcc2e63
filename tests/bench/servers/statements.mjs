// The SQL of the other contestants, written for speed; pgbench runs the same. Each
// contestant's search path selects its tables.
import { PAGE } from './inputs.mjs';

export const LIMIT = PAGE;

export const get = {
  name: 'get',
  text: `
    select id, created_at, data
    from messages
    where id = $1::uuid`,
};

export const getMany = {
  name: 'get-many',
  text: `
    select id, created_at, data
    from messages
    where id = any($1::uuid[])`,
};

export const newest = {
  name: 'newest',
  text: `
    select id, created_at, data
    from messages
    where (data ->> 'channel') collate "C" = $1
    order by created_at desc, id desc
    limit ${PAGE}`,
};

export const newestPosts = {
  name: 'newest-posts',
  text: newest.text.replace('messages', 'posts'),
};

// Time-ordered ids, as in Convoy: they fill the pages of an index sequentially, unlike
// random ones.
export const insert = {
  name: 'insert',
  text: `
    insert into messages (id, data)
    values (uuidv7(), $1::jsonb)
    returning id`,
};

export const insertPost = {
  name: 'insert-post',
  text: insert.text.replace('messages', 'posts'),
};

/** Many documents, as the text of a JSON array. */
export const insertMany = {
  name: 'insert-many',
  text: `
    insert into messages (id, data)
    select uuidv7(), value
    from jsonb_array_elements($1::text::jsonb)
    returning id`,
};

export const lockMessage = {
  name: 'lock-message',
  text: `
    select id, created_at, data
    from messages
    where id = $1::uuid
    for update`,
};

export const updateMessage = {
  name: 'update-message',
  text: `
    update messages
    set data = $2::jsonb, updated_at = now()
    where id = $1::uuid`,
};

export const balances = {
  name: 'balances',
  text: `
    select id, data -> 'balance' as balance
    from accounts
    where id in ($1::uuid, $2::uuid)`,
};

/** Ordered by id, so that transfers cannot deadlock. */
export const lockBalances = {
  name: 'lock-balances',
  text: `${balances.text}
    order by id
    for update`,
};

/** Moves an amount from the first account to the second in one statement. */
export const move = {
  name: 'move',
  text: `
    update accounts
    set
      data = jsonb_set(data, '{balance}', to_jsonb(
        (data ->> 'balance')::numeric + case id when $1::uuid then -$3::numeric else $3::numeric end)),
      updated_at = now()
    where id in ($1::uuid, $2::uuid)`,
};

export const BEGIN = 'begin';
export const BEGIN_SERIALIZABLE = 'begin isolation level serializable';
