// The same functions on Fastify and node-postgres: named prepared statements, as many
// connections as Convoy has, without Convoy's triggers. `tables` defines how messages and
// accounts are stored: in `start`, like Convoy's.
import fastify from 'fastify';
import pg from 'pg';
import { canPay, idOf, post, uuidOf } from './documents.mjs';
import {
  channelInput,
  echoInput,
  idInput,
  idsInput,
  messageInput,
  messagesInput,
  POOL,
  transferInput,
} from './inputs.mjs';
import * as jsonb from './jsonb-tables.mjs';
import { retryConflicts } from './retry.mjs';

/** @param {string} databaseUrl */
export const start = (databaseUrl) => startOn(databaseUrl, jsonb);

/**
 * @param {string} databaseUrl
 * @param {typeof jsonb} tables
 */
export async function startOn(databaseUrl, tables) {
  const { sql, document, insertValues, insertManyValues, liked } = tables;
  const pool = new pg.Pool({ connectionString: databaseUrl, max: POOL });
  const app = fastify();
  const call = (path, handler) => app.post(path, async ({ body }) => ({ ok: true, data: await handler(body) }));

  call('/echo', (body) => echoInput.parse(body));

  call('/get', async (body) => {
    const { id } = idInput.parse(body);
    const { rows } = await pool.query({ ...sql.get, values: [uuidOf(id)] });
    return rows.length === 0 ? null : document(rows[0]);
  });

  call('/get-each', async (body) => {
    const { ids } = idsInput.parse(body);
    const client = await pool.connect();
    try {
      const found = [];
      for (const id of ids) {
        const { rows } = await client.query({ ...sql.get, values: [uuidOf(id)] });
        found.push(rows.length === 0 ? null : document(rows[0]));
      }
      return found;
    } finally {
      client.release();
    }
  });

  call('/get-many', async (body) => {
    const { ids } = idsInput.parse(body);
    const { rows } = await pool.query({ ...sql.getMany, values: [ids.map(uuidOf)] });
    const found = new Map(rows.map((row) => [idOf(row), document(row)]));
    return ids.map((id) => found.get(id) ?? null);
  });

  call('/newest', async (body) => {
    const { channel } = channelInput.parse(body);
    const { rows } = await pool.query({ ...sql.newest, values: [channel] });
    return rows.map(document);
  });

  call('/newest-posts', async (body) => {
    const { channel } = channelInput.parse(body);
    const { rows } = await pool.query({ ...sql.newestPosts, values: [channel] });
    return rows.map(post);
  });

  call('/send', async (body) => {
    const message = messageInput.parse(body);
    const { rows } = await pool.query({ ...sql.insert, values: insertValues(message) });
    return idOf(rows[0]);
  });

  call('/send-in-transaction', async (body) => {
    const message = messageInput.parse(body);
    return transaction(pool, sql.BEGIN, async (client) => {
      const { rows } = await client.query({ ...sql.insert, values: insertValues(message) });
      return idOf(rows[0]);
    });
  });

  call('/send-each', async (body) => {
    const { messages } = messagesInput.parse(body);
    return transaction(pool, sql.BEGIN, async (client) => {
      const ids = [];
      for (const message of messages) {
        const { rows } = await client.query({ ...sql.insert, values: insertValues(message) });
        ids.push(idOf(rows[0]));
      }
      return ids;
    });
  });

  call('/send-many', async (body) => {
    const { messages } = messagesInput.parse(body);
    const { rows } = await pool.query({ ...sql.insertMany, values: insertManyValues(messages) });
    return rows.map(idOf);
  });

  const like = (begin, read, body) => {
    const uuid = uuidOf(idInput.parse(body).id);
    return transaction(pool, begin, async (client) => {
      const { rows } = await client.query({ ...read, values: [uuid] });
      if (rows.length === 0) return null;
      const { row, values } = liked(rows[0]);
      await client.query({ ...sql.updateMessage, values: [uuid, ...values] });
      return document(row);
    });
  };
  call('/like', (body) => like(sql.BEGIN, sql.lockMessage, body));
  call('/like-serializable', (body) => retryConflicts(() => like(sql.BEGIN_SERIALIZABLE, sql.get, body)));

  const transfer = (begin, read, body) => {
    const { from, to, amount } = transferInput.parse(body);
    const both = [uuidOf(from), uuidOf(to)];
    return transaction(pool, begin, async (client) => {
      const { rows } = await client.query({ ...read, values: both });
      if (!canPay(rows, both[0], amount)) return false;
      await client.query({ ...sql.move, values: [...both, amount] });
      return true;
    });
  };
  call('/transfer', (body) => transfer(sql.BEGIN, sql.lockBalances, body));
  call('/transfer-serializable', (body) => retryConflicts(() => transfer(sql.BEGIN_SERIALIZABLE, sql.balances, body)));

  await app.listen({ host: '127.0.0.1', port: 0 });
  const close = async () => {
    await app.close();
    await pool.end();
  };
  return { port: app.server.address().port, stats: () => ({}), close };
}

async function transaction(pool, begin, work) {
  const client = await pool.connect();
  try {
    await client.query(begin);
    const result = await work(client);
    await client.query('commit');
    return result;
  } catch (error) {
    await client.query('rollback');
    throw error;
  } finally {
    client.release();
  }
}
