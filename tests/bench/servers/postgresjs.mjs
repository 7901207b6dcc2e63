// The same functions on node:http and postgres.js, without a framework. postgres.js
// prepares statements once per connection and pipelines them where possible.
import { createServer } from 'node:http';
import postgres from 'postgres';
import { canPay, idOf, uuidOf } from './documents.mjs';
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
  const db = postgres(databaseUrl, { max: POOL, onnotice: () => undefined });
  const handlers = calls(db, tables);
  const server = createServer((request, response) => void respond(handlers, request, response));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  const close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await db.end();
  };
  return { port: server.address().port, stats: () => ({}), close };
}

/** The mode of a transaction. */
const SERIALIZABLE = 'isolation level serializable';

/** Runs a prepared statement like the tagged template, with a text from a variable. */
const run = (on, { text }, values) => on.unsafe(text, values, { prepare: true });

/** Handlers by path. */
const calls = (db, { sql, document, insertValues, insertManyValues, liked }) => ({
  '/echo': (body) => echoInput.parse(body),

  '/get': async (body) => {
    const { id } = idInput.parse(body);
    const [row] = await run(db, sql.get, [uuidOf(id)]);
    return row === undefined ? null : document(row);
  },

  '/get-each': async (body) => {
    const { ids } = idsInput.parse(body);
    const found = [];
    for (const id of ids) {
      const [row] = await run(db, sql.get, [uuidOf(id)]);
      found.push(row === undefined ? null : document(row));
    }
    return found;
  },

  '/get-many': async (body) => {
    const { ids } = idsInput.parse(body);
    const rows = await run(db, sql.getMany, [ids.map(uuidOf)]);
    const found = new Map(rows.map((row) => [idOf(row), document(row)]));
    return ids.map((id) => found.get(id) ?? null);
  },

  '/newest': async (body) => {
    const { channel } = channelInput.parse(body);
    return (await run(db, sql.newest, [channel])).map(document);
  },

  '/send': async (body) => {
    const message = messageInput.parse(body);
    const [row] = await run(db, sql.insert, insertValues(message));
    return idOf(row);
  },

  '/send-in-transaction': (body) => {
    const message = messageInput.parse(body);
    return db.begin(async (transaction) => {
      const [row] = await run(transaction, sql.insert, insertValues(message));
      return idOf(row);
    });
  },

  '/send-each': (body) => {
    const { messages } = messagesInput.parse(body);
    return db.begin(async (transaction) => {
      const ids = [];
      for (const message of messages) {
        const [row] = await run(transaction, sql.insert, insertValues(message));
        ids.push(idOf(row));
      }
      return ids;
    });
  },

  '/send-many': async (body) => {
    const { messages } = messagesInput.parse(body);
    const rows = await run(db, sql.insertMany, insertManyValues(messages));
    return rows.map(idOf);
  },

  '/like': (body) => like(db, { sql, document, liked }, { mode: '', read: sql.lockMessage }, body),

  '/like-serializable': (body) =>
    retryConflicts(() => like(db, { sql, document, liked }, { mode: SERIALIZABLE, read: sql.get }, body)),

  '/transfer': (body) => transfer(db, sql, { mode: '', read: sql.lockBalances }, body),

  '/transfer-serializable': (body) =>
    retryConflicts(() => transfer(db, sql, { mode: SERIALIZABLE, read: sql.balances }, body)),
});

function like(db, { sql, document, liked }, { mode, read }, body) {
  const uuid = uuidOf(idInput.parse(body).id);
  return db.begin(mode, async (transaction) => {
    const [row] = await run(transaction, read, [uuid]);
    if (row === undefined) return null;
    const changed = liked(row);
    await run(transaction, sql.updateMessage, [uuid, ...changed.values]);
    return document(changed.row);
  });
}

function transfer(db, sql, { mode, read }, body) {
  const { from, to, amount } = transferInput.parse(body);
  const both = [uuidOf(from), uuidOf(to)];
  return db.begin(mode, async (transaction) => {
    const rows = await run(transaction, read, both);
    if (!canPay(rows, both[0], amount)) return false;
    await run(transaction, sql.move, [...both, amount]);
    return true;
  });
}

async function respond(handlers, request, response) {
  try {
    const body = JSON.parse(await bodyOf(request));
    send(response, 200, { ok: true, data: await handlers[request.url](body) });
  } catch (error) {
    send(response, error.statusCode ?? 500, { ok: false, error: { message: error.message } });
  }
}

function bodyOf(request) {
  return new Promise((resolve, reject) => {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.once('end', () => resolve(Buffer.concat(chunks).toString()));
    request.once('error', reject);
  });
}

function send(response, status, body) {
  const text = JSON.stringify(body);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}
