// Measures the overhead of a worker thread: the echo function inline, on the thread that opened the engine, and on one
// worker, alternating in one process. Needs CONVOY_TEST_DATABASE_URL.
//
//   node tests/bench/hop.mjs [--rounds 8] [--seconds 1] [--connections 32]
import { fork } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createConvoy } from '@avvos/convoy/node';

const program = new URL('./servers/echo.mjs', import.meta.url);

async function serve() {
  const databaseUrl = process.env.CONVOY_TEST_DATABASE_URL;
  const ports = {};
  for (const [name, workers] of [
    ['inline', 0],
    ['worker', 1],
  ]) {
    const convoy = await createConvoy({ program, workers, databaseUrl, poolSize: 2 });
    ports[name] = (await convoy.listen({ port: 0 })).port;
  }
  process.send(ports);
}

/** Calls per second over `connections` keep-alive connections. */
async function load(port, connections, seconds) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: connections });
  const deadline = performance.now() + seconds * 1_000;
  let calls = 0;
  const options = { port, agent, method: 'POST', path: '/api/query/echo' };
  const call = () =>
    new Promise((resolve, reject) => {
      const request = http.request({ ...options, headers: { 'content-type': 'application/json' } }, (response) => {
        response.resume().on('end', resolve);
      });
      request.on('error', reject).end('{"name":"ada","count":3,"tags":["a","b"]}');
    });
  const client = async () => {
    for (; performance.now() < deadline; calls++) await call();
  };
  await Promise.all(Array.from({ length: connections }, client));
  agent.destroy();
  return calls / seconds;
}

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

async function compare() {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '8' },
      seconds: { type: 'string', default: '1' },
      connections: { type: 'string', default: '32' },
    },
  });
  const [rounds, seconds, connections] = [values.rounds, values.seconds, values.connections].map(Number);
  const server = fork(fileURLToPath(import.meta.url), ['serve']);
  const [ports] = await once(server, 'message');
  const rates = { inline: [], worker: [] };
  for (const port of Object.values(ports)) await load(port, connections, 1);
  for (let round = 0; round < rounds; round++) {
    for (const name of round % 2 ? ['worker', 'inline'] : ['inline', 'worker']) {
      rates[name].push(await load(ports[name], connections, seconds));
    }
  }
  server.kill();
  const [inline, worker] = [median(rates.inline), median(rates.worker)];
  console.log(`inline ${Math.round(inline)}/s, worker ${Math.round(worker)}/s: ${(worker / inline).toFixed(3)}`);
}

await (process.argv[2] === 'serve' ? serve() : compare());
