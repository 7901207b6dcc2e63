import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PassThrough } from 'node:stream';
import { afterEach, expect, it } from 'vitest';
import { createTerminal } from '../terminal.js';
import { describeLive, type LiveOverview, listLiveOnRequest } from './live-list.js';

const overview: LiveOverview = {
  sessions: 2,
  differing: ['odd.one'],
  queries: [
    {
      function: 'messages.list',
      args: { room: 'hall' },
      reads: ['messages: by_room where room = "hall", within bounds'],
      subscribers: 2,
      runs: 1,
      state: 'idle',
      sharedBy: ['@@plain', 'role'],
      lastCause: 'messages:1 entered by_room where room = "hall", written by messages.send',
    },
    {
      function: 'createContext',
      args: null,
      reads: [],
      subscribers: 1,
      runs: 3,
      state: 'running',
      sharedBy: null,
      lastCause: null,
    },
  ],
};

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

it('says of each live query what it reads, who shares it and why it ran', () => {
  expect(describeLive(overview)).toEqual([
    '2 live queries over 2 streams',
    'messages.list {"room":"hall"}: watched by 2, 1 run, shared by those of the same role',
    '  has read messages: by_room where room = "hall", within bounds',
    '  ran last because messages:1 entered by_room where room = "hall", written by messages.send',
    'createContext: watched by 1, 3 runs, running, for one stream',
    'odd.one gave different results to callers between whom its result is shared: see the log',
  ]);
});

it('answers to the word, and to no other', async () => {
  const server = createServer((request, response) => {
    expect(request.url).toBe('/api/_live');
    response.end(JSON.stringify({ ok: true, data: overview }));
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  stops.push(() => server.close());
  const shown = new PassThrough();
  const typed = new PassThrough();
  const { port } = server.address() as AddressInfo;
  const terminal = createTerminal({ verbose: false, stream: shown });
  stops.push(listLiveOnRequest(`http://127.0.0.1:${port}/api`, terminal, typed));
  typed.write('lively\nlive\n');
  let text = '';
  for await (const chunk of shown) {
    text += String(chunk);
    if (text.includes('odd.one')) break;
  }
  expect(text.match(/2 live queries/g)).toHaveLength(1);
});

it('says so where there is no answer', async () => {
  const shown = new PassThrough();
  const typed = new PassThrough();
  // Nobody listens on this port.
  stops.push(listLiveOnRequest('http://127.0.0.1:1/api', createTerminal({ verbose: false, stream: shown }), typed));
  typed.write('live\n');
  const [first] = (await shown.take(1).toArray()) as Buffer[];
  expect(String(first)).toContain('cannot be shown');
});
