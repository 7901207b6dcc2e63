/**
 * Clients that hold what a server has little of: sockets that say nothing, headers and bodies that trickle, and everything
 * too large. They are closed in time, and calls are answered meanwhile, also where there are more sockets than files.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { freshDatabaseUrl } from './app.js';
import { LONG } from './model/random.js';

/** The files that the server may open; its own take about 60. */
const FILES = 256;
const SILENT = LONG ? 2_000 : 400;
const TRICKLING = LONG ? 1_000 : 150;
const program = new URL('./programs/few-files.mjs', import.meta.url).pathname;

const running: ChildProcess[] = [];
const sockets: Socket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const server of running.splice(0)) {
    const exited = once(server, 'exit');
    server.disconnect();
    await exited;
  }
});

async function start(limits: object, files = FILES): Promise<number> {
  const env = { ...process.env, DATABASE_URL: freshDatabaseUrl(), LIMITS: JSON.stringify(limits) };
  const command = `ulimit -n ${files} && exec '${process.execPath}' '${program}'`;
  const server = spawn('sh', ['-c', command], { env, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  running.push(server);
  const [{ port }] = (await once(server, 'message')) as [{ port: number }];
  return port;
}

interface Client {
  readonly socket: Socket;
  /** Resolves when the server has closed the connection, to what it sent before. */
  readonly closed: Promise<string>;
}

/** A connection that sends `text`, and then the bytes of `rest` one by one. */
function open(port: number, text = '', rest = ''): Client {
  const socket = connect({ port, host: '127.0.0.1' });
  sockets.push(socket);
  let received = '';
  socket.on('data', (chunk) => (received += String(chunk)));
  socket.write(text);
  const trickle = [...rest];
  const timer = setInterval(() => void (trickle.length > 0 && socket.write(trickle.shift() as string)), 50);
  const closed = new Promise<string>((resolve) => {
    socket
      .on('error', () => socket.destroy())
      .on('close', () => {
        clearInterval(timer);
        resolve(received);
      });
  });
  return { socket, closed };
}

/** On a new connection, without an agent: one that was kept may just be closed by the server. */
async function call(port: number, agent?: Agent): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = request(
      { port, host: '127.0.0.1', method: 'POST', path: '/api/query/tell', agent: agent ?? false },
      (response) => {
        let text = '';
        response.on('data', (chunk) => (text += String(chunk))).on('end', () => resolve(text));
      },
    );
    sent.on('error', reject).end('{}');
  });
}

const TOLD = '{"ok":true,"data":"told"}';

test('more silent sockets than files: each is closed, and calls are answered', { timeout: 120_000 }, async () => {
  const port = await start({ headerMs: 500 });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  expect(await call(port, agent)).toBe(TOLD);
  const silent = Array.from({ length: SILENT }, () => open(port));
  let areClosed = false;
  const closing = Promise.all(silent.map(({ closed }) => closed)).then(() => {
    areClosed = true;
  });
  const calling = async (through?: Agent): Promise<void> => {
    while (!areClosed) expect(await call(port, through)).toBe(TOLD);
  };
  // On a connection that is open, and on new ones, which wait for a free file.
  await Promise.all([closing, calling(agent), calling()]);
  expect(await call(port)).toBe(TOLD);
  agent.destroy();
});

test('headers and bodies that trickle are ended, and calls are answered', { timeout: 120_000 }, async () => {
  const port = await start({ headerMs: 500, bodyMs: 500 }, 8_192);
  const head = 'POST /api/mutation/keep HTTP/1.1\r\nhost: a\r\n';
  const clients = Array.from({ length: TRICKLING }, (_, n) =>
    n % 2 === 0
      ? open(port, head, 'x: '.padEnd(10_000, 'y'))
      : open(port, `${head}content-length: 10000\r\n\r\n`, ' '.repeat(10_000)),
  );
  let areClosed = false;
  const closing = Promise.all(clients.map(({ closed }) => closed)).finally(() => (areClosed = true));
  while (!areClosed) expect(await call(port)).toBe(TOLD);
  const received = await closing;
  // A slow head gets no answer, a slow body is told.
  expect(received.filter((text, n) => n % 2 === 0 && text.includes('HTTP/1.1 2'))).toEqual([]);
  const slowBodies = received.filter((_, n) => n % 2 === 1);
  expect(slowBodies.filter((text) => !text.startsWith('HTTP/1.1 504'))).toEqual([]);
});

test('everything too large is refused, and calls are answered', { timeout: 120_000 }, async () => {
  const port = await start({ headerMs: 500, bodyMs: 500, bodyBytes: 10_000 }, 8_192);
  const head = 'POST /api/query/tell HTTP/1.1\r\nhost: a\r\n';
  const large = 'x'.repeat(200_000);
  const named = (length: number) =>
    `POST /api/query/${'x'.repeat(length)} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`;
  const cases: [what: string, text: string, statuses: number[]][] = [
    ['a request line', `GET /${large} HTTP/1.1\r\nhost: a\r\n\r\n`, [414, 431]],
    ['a header', `${head}x: ${large}\r\n\r\n`, [431]],
    ['headers within one buffer', `${head}${'x: y\r\n'.repeat(90)}x: ${'y'.repeat(66_000)}\r\n\r\n`, [431]],
    ['many headers', `${head}${Array.from({ length: 5_000 }, (_, n) => `x${n}: y\r\n`).join('')}\r\n`, [431]],
    ['a declared body', `${head}content-length: 1000000\r\n\r\n`, [413]],
    ['a body', `${head}content-length: 200000\r\n\r\n${large}`, [413]],
    ['a body in chunks', `${head}transfer-encoding: chunked\r\n\r\n30d40\r\n${large}\r\n0\r\n\r\n`, [413]],
    ['a declared length beyond all numbers', `${head}content-length: ${'9'.repeat(30)}\r\n\r\n`, [400]],
    ['a chunk beyond all numbers', `${head}transfer-encoding: chunked\r\n\r\n${'f'.repeat(30)}\r\n`, [400]],
    ['an extension of a chunk', `${head}transfer-encoding: chunked\r\n\r\n2;${large}\r\n{}\r\n0\r\n\r\n`, [400]],
    ['a URL', named(50_000), [414]],
    ['a name', named(20_000), [404]],
  ];
  for (const [what, text, statuses] of cases) {
    const { closed } = open(port, text);
    const status = Number((await closed).slice(9, 12));
    expect(statuses, `${what}: ${status}`).toContain(status);
    expect(await call(port)).toBe(TOLD);
  }
});

test('control: without a limit, silent sockets keep others out', { timeout: 120_000 }, async () => {
  const [limited, unlimited] = await Promise.all([start({ headerMs: 500 }), start({ headerMs: 3_600_000 })]);
  // No more, so that those without a file wait in the queue of the system, which may be short.
  const kept = Array.from({ length: FILES }, () => open(unlimited));
  await Promise.all(kept.map(({ socket }) => once(socket, 'connect')));
  let isAnswered = false;
  // It fails when its socket is destroyed at the end.
  const calling = call(unlimited).then(
    () => (isAnswered = true),
    () => {},
  );
  // By then, a server with a limit has closed more than it has files, twice.
  for (let round = 0; round < 2; round++) {
    await Promise.all(Array.from({ length: SILENT }, () => open(limited).closed));
  }
  expect(kept.every(({ socket }) => !socket.destroyed)).toBe(true);
  expect(isAnswered).toBe(false);
  for (const { socket } of kept) socket.destroy();
  await calling;
  expect(isAnswered).toBe(true);
});
