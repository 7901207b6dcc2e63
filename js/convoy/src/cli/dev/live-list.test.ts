import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PassThrough } from 'node:stream';
import { afterEach, expect, it } from 'vitest';
import type { LiveOverview } from '../live/overview.js';
import { createTerminal } from '../terminal.js';
import { describeLive, showLiveQueries } from './live-list.js';

const overview: LiveOverview = {
  sessions: 2,
  differing: ['odd.one'],
  functions: [],
  queries: [
    {
      function: 'messages.list',
      args: { room: 'hall' },
      reads: ['messages: by_room where room = "hall", within bounds'],
      subscribers: 2,
      runs: 1,
      dependsOn: [],
      causes: { commit: { runs: 1, equal: 0 } },
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
      dependsOn: [],
      causes: { subscribed: { runs: 3, equal: 0 } },
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

it('describes what each live query reads, who shares it and why it ran', () => {
  expect(describeLive(overview)).toEqual([
    '2 live queries over 2 streams',
    'messages.list {"room":"hall"}: 2 subscribers, 1 run, shared by callers with the same role',
    '  reads messages: by_room where room = "hall", within bounds',
    '  cause of the last run: messages:1 entered by_room where room = "hall", written by messages.send',
    'createContext: 1 subscriber, 3 runs, running, for one stream',
    'odd.one returned different results to callers that share its result; see the log',
  ]);
});

it('prints the live queries of a server', async () => {
  const server = createServer((request, response) => {
    expect(request.url).toBe('/api/_live');
    response.end(JSON.stringify({ ok: true, data: overview }));
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  stops.push(() => server.close());
  const shown = new PassThrough();
  const { port } = server.address() as AddressInfo;
  const terminal = createTerminal({ verbose: false, stream: shown });
  await showLiveQueries(`http://127.0.0.1:${port}/api`, terminal);
  let text = '';
  for await (const chunk of shown) {
    text += String(chunk);
    if (text.includes('odd.one')) break;
  }
  expect(text.match(/2 live queries/g)).toHaveLength(1);
});

it('prints an error where the server does not answer', async () => {
  const shown = new PassThrough();
  // This port is closed.
  await showLiveQueries('http://127.0.0.1:1/api', createTerminal({ verbose: false, stream: shown }));
  const [first] = (await shown.take(1).toArray()) as Buffer[];
  expect(String(first)).toContain('cannot be listed');
});
