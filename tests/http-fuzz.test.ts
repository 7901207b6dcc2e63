/**
 * Random and hostile bytes on raw sockets: no crash, no hang, no answer 500, and no request that is part of another one.
 * Then the server answers a normal call.
 */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { defineSchema, mutation, query, route } from '@avvos/convoy';
import { makeQueryRef } from '@avvos/convoy/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { serve } from './app.js';
import { connected, type Exchanged, exchange, faultOf, untilClosed } from './http-fuzz/exchange.js';
import { faultOfFrames, frameBytes } from './http-fuzz/frames.js';
import { naiveServer } from './http-fuzz/naive-server.js';
import { connectionBytes } from './http-fuzz/requests.js';
import { LONG, Random } from './model/random.js';
import { controlSeed, withSeeds } from './model/seeds.js';

const CONNECTIONS = LONG ? 100_000 : 1_500;
const SOCKETS = LONG ? 30_000 : 500;
const AT_ONCE = 48;

/** The connections on which a call was smuggled. */
const smuggled: number[] = [];
const functions = {
  fuzz: {
    echo: query({ input: z.looseObject({}), handler: (_ctx, input) => Object.keys(input) }),
    write: mutation({ input: z.looseObject({}), handler: () => null }),
    smuggled: mutation({
      input: { connection: z.string() },
      handler: (_ctx, { connection }) => void smuggled.push(Number(connection)),
    }),
  },
};
const routes = {
  hook: route.all(
    '/hooks/:id',
    async (_ctx, request, { id }) => new Response(`${id} ${(await request.text()).length}`),
  ),
};

let app: Awaited<ReturnType<typeof serve>>;
let port: number;
beforeAll(async () => {
  const limits = { headerMs: 300, bodyMs: 300 };
  app = await serve({ schema: defineSchema({}), functions, routes, limits } as never);
  port = Number(new URL(app.baseUrl).port);
});
afterAll(() => app.close());

const choices = (seed: number, connection: number): Random => new Random(Math.imul(seed, 0x9e3779b1) + connection);

/** Runs `one` with the choices of its own seed, `count` times; returns the first fault, with the seed that shows it. */
async function faults(
  seed: number,
  count: number,
  one: (random: Random, connection: number) => Promise<string | null>,
): Promise<string[]> {
  const found: string[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < count && found.length === 0) {
      const number = next++;
      const fault = await one(choices(seed, number), number);
      if (fault !== null) found.push(`connection ${number}: ${fault}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return found;
}

async function requestFault(
  to: number,
  [random, connection]: readonly [Random, number],
  deadlineMs?: number,
): Promise<string | null> {
  const bytes = connectionBytes(random, connection);
  const exchanged = await exchange(to, bytes, random, deadlineMs);
  const fault = faultOf(exchanged);
  return fault === null ? null : `${fault}; sent ${shown(bytes)}, received ${shown(exchanged.received)}`;
}

const shown = (bytes: Buffer | string): string =>
  JSON.stringify(
    Buffer.from(bytes as string, 'latin1')
      .toString('latin1')
      .slice(0, 2_000),
  );

async function expectNormalAnswers(): Promise<void> {
  const echo = makeQueryRef<object, string[]>('fuzz.echo');
  expect(await app.client.query(echo, { a: 1 })).toEqual(['a']);
  const ready = await fetch(`${app.baseUrl}/api/ready`);
  expect(ready.status).toBe(200);
}

test(`requests: ${CONNECTIONS} connections`, { timeout: 3_600_000 }, () =>
  withSeeds('http-fuzz-requests', async (seed) => {
    expect(await faults(seed, CONNECTIONS, (...choice) => requestFault(port, choice))).toEqual([]);
    expect(smuggled.map((number) => shown(connectionBytes(choices(seed, number), number)))).toEqual([]);
    await expectNormalAnswers();
  }),
);

const UPGRADE = [
  ...['GET /api/ws HTTP/1.1', 'host: localhost', 'connection: upgrade', 'upgrade: websocket'],
  ...['sec-websocket-version: 13', 'sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==', '', ''],
].join('\r\n');

async function framesFault(random: Random): Promise<string | null> {
  const bytes = frameBytes(random);
  const socket = await connected(port);
  const ending: Promise<Exchanged> = untilClosed(socket, () => false);
  socket.write(UPGRADE);
  // Some clients do not wait for the answer, which a reset may prevent.
  if (random.chance(0.8)) await Promise.race([new Promise((resolve) => socket.once('data', resolve)), ending]);
  socket.write(bytes);
  socket.end();
  const { received, isHung } = await ending;
  const [, head = '', frames = ''] = /^(.*?)\r\n\r\n(.*)$/s.exec(received) ?? [];
  const isUpgraded = head.startsWith('HTTP/1.1 101');
  if (isHung) return `the server does not close; sent ${bytes.subarray(0, 400).toString('hex')}`;
  // A client that has left before the upgrade gets no answer.
  const fault = isUpgraded ? faultOfFrames(frames) : received === '' ? null : `no upgrade: ${head}`;
  return fault === null ? null : `${fault}; sent ${bytes.subarray(0, 400).toString('hex')}, received ${shown(frames)}`;
}

test(`WebSocket frames: ${SOCKETS} connections`, { timeout: 3_600_000 }, () =>
  withSeeds('http-fuzz-frames', async (seed) => {
    expect(await faults(seed, SOCKETS, framesFault)).toEqual([]);
    await expectNormalAnswers();
  }),
);

test('control: a server that goes by Content-Length alone is found out', async () => {
  const naive = naiveServer();
  await once(naive.server.listen(0, '127.0.0.1'), 'listening');
  const { port } = naive.server.address() as AddressInfo;
  try {
    const found = await faults(controlSeed(), CONNECTIONS, async (...choice) => {
      const fault = await requestFault(port, choice, 300);
      return naive.smuggled() > 0 && fault !== null ? fault : null;
    });
    expect(found).not.toEqual([]);
    expect(naive.smuggled()).toBeGreaterThan(0);
  } finally {
    naive.server.close();
  }
});
