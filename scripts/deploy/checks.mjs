// Uses a deployed app as its users do, through its proxy. Runs in the network of the
// server; prints JSON. `checks.mjs <url> use` looks at each feature once; `checks.mjs <url>
// load` calls functions until standard input ends, and counts failures.
import https from 'node:https';
import { createConvoyClient, makeMutationRef, makeQueryRef } from '../../js/convoy/dist/client/index.js';

const [url, mode] = process.argv.slice(2);
const list = makeQueryRef('messages.list');
const send = makeMutationRef('messages.send');

/** A POST by a connection of its own, as a stranger makes it: nothing is tried again. */
function call(path, input) {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' };
    const request = https.request(`${url}/api/${path}`, { method: 'POST', headers, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk) => {
        text += chunk;
      });
      response.once('error', reject);
      response.once('end', () =>
        response.statusCode === 200 ? resolve(JSON.parse(text)) : reject(new Error(`${response.statusCode}: ${text}`)),
      );
    });
    request.once('error', reject);
    request.end(JSON.stringify(input));
  });
}

function upgrade() {
  return new Promise((resolve, reject) => {
    const headers = {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': Buffer.alloc(16, 1).toString('base64'),
    };
    const request = https.get(`${url}/api/ws`, { headers });
    request.once('upgrade', (_response, socket) => {
      socket.destroy();
      resolve(101);
    });
    request.once('response', (response) => {
      response.destroy();
      resolve(response.statusCode);
    });
    request.once('error', reject);
  });
}

/** A watch of the messages; `until` waits for one with this body. */
function watchMessages() {
  const client = createConvoyClient({ baseUrl: url });
  let bodies = [];
  let wake = () => {};
  client.watch(list, {}, ({ data }) => {
    if (data !== null) bodies = data.map((message) => message.body);
    wake();
  });
  const until = async (body) => {
    while (!bodies.includes(body)) {
      await new Promise((resolve) => {
        wake = resolve;
      });
    }
  };
  return { client, until };
}

async function use() {
  const page = await fetch(url);
  const script = /src="(\/assets\/[^"]+\.js)"/.exec(await page.text())?.[1];
  const asset = await fetch(`${url}${script}`);
  const plain = await fetch(url.replace('https', 'http'), { redirect: 'manual' });
  const query = await call('query/messages.list', {});
  const { client, until } = watchMessages();
  await client.mutation(send, { author: 'ada', body: 'first' });
  await until('first');
  const began = performance.now();
  await call('mutation/messages.send', { author: 'ada', body: 'live' });
  await until('live');
  const liveMs = Math.round(performance.now() - began);
  client.close();
  return {
    page: page.status,
    asset: asset.status,
    plain: plain.status,
    query: Array.isArray(query.data),
    webSocket: await upgrade(),
    liveMs,
  };
}

async function load() {
  const { client, until } = watchMessages();
  await client.mutation(send, { author: 'ada', body: 'before' });
  await until('before');
  let stops = false;
  process.stdin.resume().once('end', () => {
    stops = true;
  });
  let calls = 0;
  const failures = [];
  const one = async (n) => {
    while (!stops) {
      calls += 1;
      await (n % 2 === 0
        ? call('query/messages.list', {})
        : call('mutation/messages.send', { author: 'eve', body: `${n}` })
      ).catch((error) => failures.push(error.message));
    }
  };
  console.log('started');
  await Promise.all([0, 1, 2, 3].map(one));
  // The watch has moved to a server that was started meanwhile.
  await client.mutation(send, { author: 'ada', body: 'after' });
  await until('after');
  client.close();
  return { calls, failures: failures.length, firstFailures: failures.slice(0, 3), watchContinues: true };
}

console.log(JSON.stringify(await (mode === 'use' ? use() : load())));
process.exit();
