/**
 * What pages of other sites can have a browser do: every combination of `Origin`, `Sec-Fetch-Site`, content type and
 * cookies, for each kind of request. Whether it has an effect is compared with a second implementation of the rule.
 */
import { Agent, request } from 'node:http';
import { defineSchema, mutation, query, route } from '@avvos/convoy';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { serve } from './app.js';

const LISTED = 'https://partner.example';
const ORIGINS = [undefined, 'own', LISTED, 'https://evil.test', 'null', 'http://localhost.evil.test'] as const;
const SITES = [undefined, 'same-origin', 'none', 'same-site', 'cross-site', ''] as const;
const TYPES = [
  undefined,
  'application/json',
  'text/plain',
  'application/x-www-form-urlencoded',
  'multipart/form-data; boundary=application/json',
] as const;
const COOKIES = [undefined, 'session=ann'] as const;

let runs = 0;
const count = (): null => {
  runs++;
  return null;
};
const functions = { site: { write: mutation({ handler: count }), read: query({ cache: false, handler: count }) } };
const routes = { write: route.post('/write', () => new Response(String(count()))) };

let app: Awaited<ReturnType<typeof serve>>;
const agent = new Agent({ keepAlive: true, maxSockets: 8 });
beforeAll(async () => {
  const cors = { origins: [LISTED], credentials: true };
  app = await serve({ schema: defineSchema({}), functions, routes, cors } as never);
});
afterAll(async () => {
  agent.destroy();
  await app.close();
});

interface Case {
  readonly origin: string | undefined;
  readonly site: string | undefined;
  readonly type: string | undefined;
  readonly cookie: string | undefined;
}

const own = (): string => app.baseUrl;
const cases = (): Case[] =>
  ORIGINS.flatMap((given) =>
    SITES.flatMap((site) =>
      TYPES.flatMap((type) =>
        COOKIES.map((cookie) => ({ origin: given === 'own' ? own() : given, site, type, cookie })),
      ),
    ),
  );

function headersOf({ origin, site, type, cookie }: Case): Record<string, string> {
  const all = { origin, 'sec-fetch-site': site, 'content-type': type, cookie };
  return Object.fromEntries(Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined));
}

/** Whether the request may come from the visitor's own page, or from none. */
function isOwn({ origin, site }: Case): boolean {
  if (origin === LISTED) return true;
  if (site !== undefined && site !== '') return site === 'same-origin' || site === 'none';
  return origin === undefined || origin === own();
}

/** Whether cookies, if there are any, have a proof of where they come from. */
function isProven({ origin, site, type, cookie }: Case): boolean {
  return cookie === undefined || origin !== undefined || (site ?? '') !== '' || type === 'application/json';
}

function send(method: string, path: string, headers: Record<string, string>) {
  return new Promise<{ status: number; granted: string | undefined; text: string }>((resolve, reject) => {
    const sent = request(`${app.baseUrl}${path}`, { method, headers, agent }, (response) => {
      let text = '';
      response.on('data', (chunk) => {
        text += String(chunk);
        // A stream goes on.
        if (response.headers['content-type']?.startsWith('text/event-stream')) response.destroy();
      });
      const answer = () =>
        resolve({ status: response.statusCode ?? 0, granted: response.headers['access-control-allow-origin'], text });
      response.on('end', answer).on('close', answer);
    });
    sent
      .on('error', reject)
      .end(method === 'POST' ? (path === '/api/live' ? '{"protocol":1,"queries":[]}' : '{}') : undefined);
  });
}

test.each([
  ['POST', '/api/mutation/site.write'],
  ['POST', '/api/query/site.read'],
  ['POST', '/api/live'],
])('%s %s has an effect only for a page that may call', async (method, path) => {
  const wrong: unknown[] = [];
  for (const each of cases()) {
    const before = runs;
    const { status, granted } = await send(method, path, headersOf(each));
    const may = isOwn(each) && isProven(each) && (each.origin === undefined || each.type === 'application/json');
    const had = path === '/api/live' ? status === 200 : runs > before;
    if (had !== may || (status === 200) !== may) wrong.push({ ...each, status, may });
    if (granted !== (each.origin === LISTED ? LISTED : undefined)) wrong.push({ ...each, granted });
  }
  expect(wrong).toEqual([]);
});

test('a route has an effect only for a page that may call, with a body of any type', async () => {
  const wrong: unknown[] = [];
  for (const each of cases()) {
    const before = runs;
    const { status } = await send('POST', '/write', headersOf(each));
    const may = isOwn(each) && isProven(each);
    if (runs > before !== may || (status === 200) !== may) wrong.push({ ...each, status, may });
  }
  expect(wrong).toEqual([]);
});

test('responses to GET can be read by pages of listed origins only', async () => {
  for (const path of ['/api/health', '/api/subscribe?name=site.read', '/api/query/site.read']) {
    for (const each of cases().filter(({ type }) => type === undefined)) {
      const { granted } = await send('GET', path, headersOf(each));
      expect(granted, JSON.stringify(each)).toBe(each.origin === LISTED ? LISTED : undefined);
    }
  }
});

test('a WebSocket opens only for a page that may call', async () => {
  const wrong: unknown[] = [];
  for (const each of cases().filter(({ type }) => type === undefined)) {
    const socket = new WebSocket(`${app.baseUrl.replace('http', 'ws')}/api/ws`, { headers: headersOf(each) });
    const opened = await new Promise<boolean>((resolve) => {
      socket.on('open', () => resolve(true)).on('unexpected-response', () => resolve(false));
      socket.on('error', () => resolve(false));
    });
    socket.terminate();
    if (opened !== isOwn(each)) wrong.push({ ...each, opened });
  }
  expect(wrong).toEqual([]);
});
