// Shows the same chat in three ways at the same time: with a live query, and with TanStack Query that polls every second
// and every 200 ms. Counts the requests and bytes of each, and measures the time from the call that sends a message to
// the moment at which each has it.
//
//   node tests/bench/polling.mjs [--seconds 60] [--every 1000]
//
// --every is the mean time between messages in milliseconds. All three use the client of Convoy for their calls, in one
// process, over connections of their own.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { environmentManager, QueryClient, QueryObserver } from '@tanstack/query-core';
import { createConvoyClient, makeMutationRef, makeQueryRef } from '../../js/convoy/dist/client/index.js';
import { root } from '../../scripts/run.mjs';
import { Database } from './database.mjs';
import { table, whole } from './table.mjs';

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '60' }, every: { type: 'string', default: '1000' } },
});
const [seconds, everyMs] = [values.seconds, values.every].map(Number);

// On a server it does not poll.
environmentManager.setIsServer(() => false);

const createChannel = makeMutationRef('channels.create');
const list = makeQueryRef('messages.list');
const send = makeMutationRef('messages.send');

/** A TCP proxy that counts the bytes of both directions. */
class CountingConnection {
  up = 0;
  down = 0;
  requests = 0;
  #server;
  #sockets = new Set();

  static async to(url) {
    const counting = new CountingConnection();
    const { hostname, port } = new URL(url);
    counting.#server = createServer((client) => {
      const server = connect({ host: hostname, port: Number(port) });
      const forward = (from, to, count) => {
        counting.#sockets.add(from);
        from.on('data', (chunk) => {
          count(chunk.length);
          to.write(chunk);
        });
        from.on('error', () => to.destroy());
        from.on('close', () => to.destroy());
      };
      forward(client, server, (bytes) => {
        counting.up += bytes;
      });
      forward(server, client, (bytes) => {
        counting.down += bytes;
      });
    });
    counting.#server.listen(0, '127.0.0.1');
    await once(counting.#server, 'listening');
    return counting;
  }

  /** A client over this connection. */
  client() {
    return createConvoyClient({
      baseUrl: `http://127.0.0.1:${this.#server.address().port}`,
      fetch: (...request) => {
        this.requests += 1;
        return fetch(...request);
      },
    });
  }

  reset() {
    this.up = 0;
    this.down = 0;
    this.requests = 0;
  }

  stop() {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** One way to show the chat. */
class Screen {
  delaysMs = [];
  #seen = new Set();

  constructor(name, connection) {
    this.name = name;
    this.connection = connection;
    this.client = connection.client();
  }

  /** The screen shows these messages now. */
  show(messages) {
    for (const { body } of messages) {
      if (this.#seen.has(body)) continue;
      this.#seen.add(body);
      const sentAt = sent.get(body);
      if (sentAt !== undefined) this.delaysMs.push(performance.now() - sentAt);
    }
  }
}

/** When each message was sent. */
const sent = new Map();

function watch(screen, channelId) {
  return screen.client.watch(list, { channelId }, ({ data }) => data && screen.show(data));
}

function poll(screen, channelId, refetchInterval) {
  const queries = new QueryClient();
  const observer = new QueryObserver(queries, {
    queryKey: ['messages.list', channelId],
    queryFn: () => screen.client.query(list, { channelId }),
    refetchInterval,
    refetchIntervalInBackground: true,
  });
  const stop = observer.subscribe(({ data }) => data && screen.show(data));
  return () => {
    stop();
    queries.clear();
  };
}

/** Starts the chat; resolves with its address when it serves. */
async function startChat(databaseUrl) {
  const program = join(root, 'js/convoy/dist/cli/main.js');
  const env = { ...process.env, DATABASE_URL: databaseUrl, NO_COLOR: '1' };
  const child = spawn(process.execPath, [program, 'dev', '--port', '0'], { cwd: join(root, 'examples/chat'), env });
  let printed = '';
  const url = await new Promise((resolve, reject) => {
    const onOutput = (chunk) => {
      printed += chunk;
      const found = /https?:\/\/[\d.a-z]+:\d+/.exec(printed);
      if (found) resolve(found[0]);
    };
    child.stdout.on('data', onOutput);
    child.stderr.on('data', onOutput);
    child.once('exit', (code) => reject(new Error(`convoy dev ended with ${code}:\n${printed}`)));
  });
  return {
    url,
    stop: async () => {
      child.removeAllListeners('exit');
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

const percentile = (values, part) => [...values].sort((a, b) => a - b)[Math.ceil(values.length * part) - 1] ?? 0;

function row({ name, connection, delaysMs }) {
  const { requests, up, down } = connection;
  const [p50, p99] = [0.5, 0.99].map((part) => percentile(delaysMs, part).toFixed(1));
  return [name, ...[requests, up / 1024, down / 1024].map(whole), p50, p99, `${delaysMs.length} of ${sent.size}`];
}

const database = await Database.start();
const chat = await startChat(database.url);
const writer = createConvoyClient({ baseUrl: chat.url });
const channelId = await writer.mutation(createChannel, { name: 'polling' });
for (let n = 0; n < 50; n++)
  await writer.mutation(send, { channelId, author: 'Ada', body: `An earlier message, ${n}` });

const screens = [];
for (const name of ['live query', 'TanStack Query, 1 s', 'TanStack Query, 200 ms']) {
  screens.push(new Screen(name, await CountingConnection.to(chat.url)));
}
const [live, slow, fast] = screens;
for (const { connection } of screens) connection.reset();
const stops = [watch(live, channelId), poll(slow, channelId, 1_000), poll(fast, channelId, 200)];

const end = performance.now() + seconds * 1_000;
while (performance.now() < end) {
  await pause(everyMs * (0.25 + 1.5 * Math.random()));
  const body = `Message ${sent.size} of this minute`;
  sent.set(body, performance.now());
  await writer.mutation(send, { channelId, author: 'Grace', body });
}
// The last message reaches the slowest.
await pause(2_000);

console.log(`\nOne screen each with the newest fifty messages of a channel, ${seconds} s, ${sent.size} messages:\n`);
const head = ['', 'requests', 'KiB sent', 'KiB received', 'delay p50, ms', 'p99, ms', 'messages seen'];
console.log(table(head, screens.map(row)));

for (const stop of stops) stop();
for (const { client, connection } of screens) {
  client.close();
  connection.stop();
}
writer.close();
await chat.stop();
await database.stop();
if (screens.some(({ delaysMs }) => delaysMs.length !== sent.size)) {
  console.error('✗ A screen has not shown every message.');
  process.exitCode = 1;
}
