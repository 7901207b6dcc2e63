// Measures what sessions cost, and how soon they end.
//
//   node tests/bench/sessions.mjs [--streams 10000] [--ended 200] [--seconds 4] [--rounds 3]
//
// Calls: 16 clients with a session each, by three ways to find it (`sessions-program.mjs`), which alternate. Statements and
// round trips are those of 200 calls in a row, counted on the wire; those of the change feed are left out by the same
// time without calls. Each server has a database of its own: over one database, each would notify the others of every
// commit while a session is kept, and those notifications would count as its own.
//
// Revocation: `streams` live streams, each of a session of its own. Sessions are ended one after another, first with
// `delete` by another program, then by a mutation of Convoy. Measured is the time from its answer to the refusal in the
// stream, and to the first call that is refused.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createConvoy } from '@avvos/convoy/node';
import pg from 'pg';
import { startThrowAwayPostgres } from '../../scripts/postgres.mjs';
import { CountingProxy } from './counting-proxy.mjs';

const { values } = parseArgs({
  options: {
    streams: { type: 'string', default: '10000' },
    ended: { type: 'string', default: '200' },
    seconds: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '3' },
  },
});
const [streams, ended, seconds, rounds] = ['streams', 'ended', 'seconds', 'rounds'].map((name) => Number(values[name]));
const CLIENTS = 16;
const tokenOf = (n) => `token-${n}`;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

class Server {
  static async start(sessions, databaseUrl) {
    const server = new Server();
    const file = fileURLToPath(new URL('./servers/sessions.mjs', import.meta.url));
    const env = { ...process.env, SESSIONS: sessions, DATABASE_URL: databaseUrl, NODE_ENV: 'production' };
    server.child = fork(file, { env, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    [{ port: server.port }] = await once(server.child, 'message');
    server.agent = new Agent({ keepAlive: true, maxSockets: CLIENTS });
    return server;
  }

  async ask(message) {
    const answered = once(this.child, 'message');
    this.child.send(message);
    return (await answered)[0];
  }

  /** Calls a function; the status and the text of the response. */
  call(kind, name, token) {
    return new Promise((resolve, reject) => {
      const headers = { authorization: token, 'content-type': 'application/json', 'content-length': 2 };
      const path = `/api/${kind}/${name}`;
      const sent = request({ port: this.port, agent: this.agent, method: 'POST', path, headers }, (response) => {
        const chunks = [];
        response.on('data', (chunk) => chunks.push(chunk));
        response.on('end', () => resolve({ status: response.statusCode, text: Buffer.concat(chunks).toString() }));
      });
      sent.on('error', reject);
      sent.end('{}');
    });
  }

  async stop() {
    this.agent.destroy();
    this.child.disconnect();
    await once(this.child, 'exit');
  }
}

/** Calls per second of `CLIENTS` clients, their median duration in ms, and the processor time of the server for each. */
async function rateOf(server, kind, name) {
  const cpuBefore = (await server.ask({ cpu: true })).cpu;
  const [began, until] = [performance.now(), performance.now() + seconds * 1_000];
  const durations = [];
  const client = async (n) => {
    for (let now = began; now < until; ) {
      const { status, text } = await server.call(kind, name, tokenOf(n));
      if (status !== 200) throw new Error(`${name}: ${status} ${text}`);
      const ended = performance.now();
      durations.push(ended - now);
      now = ended;
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, (_, n) => client(n)));
  const cpu = (await server.ask({ cpu: true })).cpu - cpuBefore;
  const rate = durations.length / ((performance.now() - began) / 1_000);
  durations.sort((a, b) => a - b);
  return { rate, median: quantile(durations, 0.5), cpu: cpu / durations.length };
}

/** Waits until the server has compared the stored documents with its schema: then only the change feed is read. */
async function untilIdle(server, proxy) {
  await server.call('query', 'me', tokenOf(0));
  const second = async () => {
    const before = proxy.counts().statements;
    await pause(1_000);
    return proxy.counts().statements - before;
  };
  // The feed takes about 13 statements a second.
  while ((await second()) > 25);
}

/** Statements and round trips for each call. */
async function wireOf(server, proxy, kind, name) {
  const CALLS = 200;
  await server.call(kind, name, tokenOf(0));
  const before = proxy.counts();
  const began = performance.now();
  for (let n = 0; n < CALLS; n++) await server.call(kind, name, tokenOf(0));
  const took = performance.now() - began;
  const after = proxy.counts();
  await pause(took);
  const idle = proxy.counts();
  const each = (key) => (after[key] - before[key] - (idle[key] - after[key])) / CALLS;
  return { statements: each('statements'), roundTrips: each('roundTrips') };
}

/** Opens a live stream; `refused` resolves when it is told that its caller is not signed in. */
function openStream(port, token) {
  const socket = connect(port, '127.0.0.1');
  const body = JSON.stringify({ protocol: 1, queries: [{ id: 1, name: 'watched', args: {} }] });
  socket.write(
    `POST /api/live HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\nauthorization: ${token}\r\n` +
      `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
  let onText = () => {};
  const seen = { text: '' };
  socket.on('data', (data) => {
    seen.text = (seen.text + data).slice(-4_096);
    onText();
  });
  const until = (part) =>
    new Promise((resolve, reject) => {
      socket.on('error', reject);
      onText = () => {
        if (seen.text.includes(part)) resolve(performance.now());
      };
      onText();
    });
  return { socket, until };
}

const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
const shown = (times) => {
  const sorted = [...times].sort((a, b) => a - b);
  return `p50 ${quantile(sorted, 0.5).toFixed(1)} ms, p99 ${quantile(sorted, 0.99).toFixed(1)} ms, most ${sorted.at(-1).toFixed(1)} ms`;
};

/** Runs `work` with a connection to a database. */
async function connected(url, work) {
  const client = new pg.Client(url);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** The URL of another database of the same Postgres. */
function databaseOf(url, name) {
  const other = new URL(url);
  other.pathname = `/${name}`;
  return other.href;
}

/** Fills the database that the servers get copies of. */
async function prepare(url) {
  process.env.SESSIONS = 'asked';
  const program = new URL('./servers/sessions-program.mjs', import.meta.url);
  await (await createConvoy({ program, databaseUrl: url })).close();
  await connected(url, fill);
}

/** A user and a session for each stream. */
async function fill(sql) {
  await sql.query(
    `insert into users (id, data) select gen_random_uuid(), jsonb_build_object('name', 'user ' || n)
       from generate_series(0, $1::int) n`,
    [streams],
  );
  await sql.query(
    `insert into sessions (id, data)
       select gen_random_uuid(), jsonb_build_object('userId', 'users:' || id,
         'tokenHash', encode(sha256(convert_to('token-' || (row_number() over () - 1), 'UTF8')), 'hex'))
       from users`,
  );
}

const postgres = await startThrowAwayPostgres();
try {
  /** Creates a database; its name. */
  const created = async (name, template = 'template1') => {
    await connected(postgres.url, (sql) => sql.query(`create database ${name} template ${template}`));
    return name;
  };
  const copy = (name) => created(name, 'prepared');
  await prepare(databaseOf(postgres.url, await created('prepared')));
  const plain = new URL(postgres.url);
  plain.searchParams.set('sslmode', 'disable');
  const proxy = await CountingProxy.start(plain.href);
  console.log('calls of 16 clients            calls/s        p50   CPU of the server   statements   round trips');
  const servers = {};
  for (const mode of ['kept', 'asked', 'cookie']) {
    servers[mode] = await Server.start(mode, databaseOf(postgres.url, await copy(mode)));
  }
  for (const [kind, name] of [
    ['query', 'me'],
    ['mutation', 'add'],
  ]) {
    const measured = { kept: [], asked: [], cookie: [] };
    for (let round = 0; round < rounds; round++) {
      for (const mode of Object.keys(measured)) measured[mode].push(await rateOf(servers[mode], kind, name));
    }
    for (const [mode, runs] of Object.entries(measured)) {
      const counted = await Server.start(mode, databaseOf(proxy.url, await copy(`counted_${mode}_${kind}`)));
      await untilIdle(counted, proxy);
      const { statements, roundTrips } = await wireOf(counted, proxy, kind, name);
      await counted.stop();
      const [{ rate, median, cpu }] = runs.sort((a, b) => b.rate - a.rate).slice(Math.floor(runs.length / 2));
      console.log(
        `${`${kind}, session ${mode}`.padEnd(28)} ${rate.toFixed(0).padStart(9)} ${`${median.toFixed(1)} ms`.padStart(10)}` +
          `${`${cpu.toFixed(0)} µs`.padStart(20)}${statements.toFixed(2).padStart(13)} ${roundTrips.toFixed(2).padStart(13)}`,
      );
    }
  }
  for (const mode of ['asked', 'cookie']) await servers[mode].stop();

  const server = servers.kept;
  const sql = new pg.Client(databaseOf(postgres.url, 'kept'));
  await sql.connect();
  const open = [];
  for (let n = 0; n < streams; n += 200) {
    const batch = Array.from({ length: Math.min(200, streams - n) }, (_, at) =>
      openStream(server.port, tokenOf(n + at)),
    );
    await Promise.all(batch.map(({ until }) => until('"data":')));
    open.push(...batch);
  }
  console.log(`\n${open.length} live streams, each of a session of its own; ${ended} sessions ended one by one`);
  for (const [by, end] of [
    [
      'delete by another program',
      (n) =>
        sql.query(`delete from sessions where data->>'tokenHash' = encode(sha256(convert_to($1, 'UTF8')), 'hex')`, [
          tokenOf(n),
        ]),
    ],
    ['a mutation of Convoy', (n) => server.ask({ end: tokenOf(n) })],
  ]) {
    const [inStreams, inCalls] = [[], []];
    for (let at = 0; at < ended; at++) {
      const n = (by === 'a mutation of Convoy' ? ended : 0) + at;
      await server.call('query', 'me', tokenOf(n));
      // At any moment of the interval in which the change log is read.
      await pause((at * 37) % 100);
      const refused = open[n].until('UNAUTHORIZED');
      await end(n);
      const committed = performance.now();
      const call = (async () => {
        while ((await server.call('query', 'me', tokenOf(n))).status !== 401);
        return performance.now();
      })();
      inStreams.push((await refused) - committed);
      inCalls.push((await call) - committed);
    }
    console.log(`${by}\n  in the stream: ${shown(inStreams)}\n  in calls:      ${shown(inCalls)}`);
  }
  for (const { socket } of open) socket.destroy();
  await sql.end();
  await server.stop();
  await proxy.stop();
} finally {
  await postgres.stop();
}
