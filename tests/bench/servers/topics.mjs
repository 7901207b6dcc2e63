// Hand-written live queries on node:http and node-postgres: a trigger notifies of the
// written channel, and a topic per channel runs the query once and writes the result to
// all of its subscribers. A topic runs one query at a time, and runs it again if its channel
// was written meanwhile.
import { createServer } from 'node:http';
import pg from 'pg';
import { post } from './documents.mjs';
import { channelInput, POOL, postInput } from './inputs.mjs';
import * as sql from './statements.mjs';

/** @param {string} databaseUrl */
export async function start(databaseUrl) {
  const pool = new pg.Pool({ connectionString: databaseUrl, max: POOL });
  const listener = new pg.Client({ connectionString: databaseUrl });
  await listener.connect();
  const topics = new Topics(pool);
  listener.on('notification', ({ payload }) => topics.written(payload));
  await listener.query('listen posts');

  const server = createServer(async (request, response) => {
    try {
      if (request.method === 'POST') await write(pool, request, response);
      else await topics.watch(channelInput.parse(paramsOf(request)).channel, response);
    } catch (error) {
      send(response, 500, { ok: false, error: { message: error.message } });
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', 4096, () => resolve(undefined)));
  const close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await listener.end();
    await pool.end();
  };
  return { port: server.address().port, stats: () => topics.stats(), close };
}

class Topics {
  #pool;
  #topics = new Map();
  #runs = 0;

  constructor(pool) {
    this.#pool = pool;
  }

  /** The number of runs of writes and queries, and of live queries. */
  stats() {
    return { handlerRuns: this.#runs, liveQueries: this.#topics.size };
  }

  async watch(channel, response) {
    const existing = this.#topics.get(channel);
    const topic = existing ?? { subscribers: new Set(), isRunning: false, isWritten: false };
    if (existing === undefined) this.#topics.set(channel, topic);
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    const first = await this.#event(channel);
    topic.subscribers.add(response);
    response.write(first);
    response.once('close', () => {
      topic.subscribers.delete(response);
      if (topic.subscribers.size === 0) this.#topics.delete(channel);
    });
  }

  async written(channel) {
    this.#runs += 1;
    const topic = this.#topics.get(channel);
    if (topic === undefined) return;
    topic.isWritten = true;
    if (topic.isRunning) return;
    topic.isRunning = true;
    while (topic.isWritten) {
      topic.isWritten = false;
      const event = await this.#event(channel);
      for (const response of topic.subscribers) response.write(event);
    }
    topic.isRunning = false;
  }

  async #event(channel) {
    this.#runs += 1;
    const { rows } = await this.#pool.query({ ...sql.newestPosts, values: [channel] });
    return `data: ${JSON.stringify({ type: 'result', data: rows.map(post) })}\n\n`;
  }
}

async function write(pool, request, response) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const message = postInput.parse(JSON.parse(Buffer.concat(chunks).toString()));
  const { rows } = await pool.query({ ...sql.insertPost, values: [message] });
  send(response, 200, { ok: true, data: `posts:${rows[0].id}` });
}

function paramsOf({ url }) {
  return Object.fromEntries(new URL(url, 'http://localhost').searchParams);
}

function send(response, status, body) {
  const text = JSON.stringify(body);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}
