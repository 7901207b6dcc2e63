// The same functions on Fastify and node-postgres, as one would write them for
// speed: statements prepared by name, as many connections as Convoy has, and the
// same table and indexes, without Convoy's triggers on them.
import fastify from 'fastify';
import pg from 'pg';
import { channelInput, echoInput, messageInput, PAGE } from './inputs.mjs';

const newest = {
  name: 'newest',
  text: `
    select id, created_at, data
    from plain.messages
    where (data ->> 'channel') collate "C" = $1
    order by created_at desc, id desc
    limit ${PAGE}`,
};

// Ids in the order of time, as Convoy makes them: they fill an index page after
// page, which random ones do not.
const insert = {
  name: 'insert',
  text: `
    insert into plain.messages (id, data)
    values (uuidv7(), $1)
    returning id`,
};

/** @param {string} databaseUrl */
export async function start(databaseUrl) {
  const pool = new pg.Pool({ connectionString: databaseUrl, max: 10 });
  const app = fastify();

  app.post('/echo', async (request) => ({ ok: true, data: echoInput.parse(request.body) }));

  app.post('/newest', async (request) => {
    const { channel } = channelInput.parse(request.body);
    const { rows } = await pool.query({ ...newest, values: [channel] });
    return { ok: true, data: rows.map(document) };
  });

  app.post('/send', async (request) => {
    const message = messageInput.parse(request.body);
    const { rows } = await pool.query({ ...insert, values: [message] });
    return { ok: true, data: idOf(rows[0]) };
  });

  app.post('/send-in-transaction', async (request) => {
    const message = messageInput.parse(request.body);
    const client = await pool.connect();
    try {
      await client.query('begin');
      const { rows } = await client.query({ ...insert, values: [message] });
      await client.query('commit');
      return { ok: true, data: idOf(rows[0]) };
    } catch (error) {
      await client.query('rollback');
      throw error;
    } finally {
      client.release();
    }
  });

  await app.listen({ host: '127.0.0.1', port: 0 });
  const close = async () => {
    await app.close();
    await pool.end();
  };
  return { port: app.server.address().port, stats: () => ({}), close };
}

function document(row) {
  return { ...row.data, id: idOf(row), _creationTime: row.created_at.getTime() };
}

function idOf({ id }) {
  return `messages:${id}`;
}
