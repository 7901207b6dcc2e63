/** The page of `convoy dev` over the wire: who may reach it, and what it answers. */
import http from 'node:http';
import { networkInterfaces } from 'node:os';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { CommandLine, noteFunctions, notes } from './command-line.js';

const project = () => CommandLine.create({ 'convoy/schema.ts': notes, 'convoy/functions/notes.ts': noteFunctions });

interface Page {
  readonly origin: string;
  readonly token: string;
}

async function dev(app: CommandLine, ...flags: string[]): Promise<Page> {
  const command = app.start(['dev', '--port', '0', '--no-types', ...flags]);
  const [, origin = '', token = ''] = await command.prints(/Page +(http:\S+)\/_convoy#token=(\w+)/);
  return { origin, token };
}

interface Reply {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly text: string;
}

/** One request; unlike `fetch`, it can send every header. */
function request(url: string, headers: Record<string, string>, body?: unknown): Promise<Reply> {
  const method = body === undefined ? 'GET' : 'POST';
  return new Promise((resolve, reject) => {
    http
      .request(url, { method, headers, agent: false }, async (response) => {
        let text = '';
        for await (const chunk of response) text += String(chunk);
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text });
      })
      .on('error', reject)
      .end(body === undefined ? undefined : JSON.stringify(body));
  });
}

const ask = async ({ origin, token }: Page, path: string, body: object, headers: Record<string, string> = {}) => {
  const reply = await request(`${origin}/_convoy/${path}`, { authorization: `Bearer ${token}`, ...headers }, body);
  return { status: reply.status, ...(JSON.parse(reply.text) as { data?: unknown; error?: { code: string } }) };
};

describe('the page', () => {
  let app: CommandLine;
  let page: Page;
  beforeAll(async () => {
    app = await project();
    page = await dev(app);
  });
  afterAll(() => app.remove());

  test('without the token it serves its files and nothing else', async () => {
    const files = await Promise.all(
      ['', '/', '/page.js', '/fields.js', '/page.css'].map((path) => request(`${page.origin}/_convoy${path}`, {})),
    );
    for (const { status, headers, text } of files) {
      expect(status).toBe(200);
      expect(headers['content-security-policy']).toContain("default-src 'none'");
      expect(headers['cross-origin-resource-policy']).toBe('same-origin');
      expect(text).not.toContain(page.token);
    }
    for (const path of ['state', 'call', 'latest', 'input']) {
      for (const authorization of ['', page.token, `Bearer ${page.token}0`, `Bearer ${page.token.slice(1)}`]) {
        const body = { name: 'notes.add', args: { body: 'unwanted' }, table: 'notes' };
        expect(await ask(page, path, body, { authorization })).toMatchObject({ status: 401 });
      }
    }
    expect(await ask(page, 'call', { name: 'notes.list' })).toMatchObject({ data: [] });
  });

  test.each([
    ['a foreign origin', { origin: 'https://evil.test' }],
    ['another port of this machine', { origin: 'http://127.0.0.1:1' }],
    ['a sandboxed frame', { origin: 'null' }],
    ['another site', { 'sec-fetch-site': 'cross-site' }],
    ['a name that resolves to this machine', { host: 'evil.test' }],
    ['an address of the network', { host: '10.0.0.7' }],
    ['a proxy', { 'x-forwarded-for': '10.0.0.7' }],
  ])('a request from %s gets nothing, with the token and without', async (_name, headers) => {
    for (const authorization of ['', `Bearer ${page.token}`]) {
      for (const [path, body] of [
        ['', undefined],
        ['/page.js', undefined],
        ['/state', {}],
      ] as const) {
        const reply = await request(`${page.origin}/_convoy${path}`, { ...headers, authorization }, body);
        expect(reply.status).toBe(403);
        expect(reply.headers['access-control-allow-origin']).toBeUndefined();
        expect(JSON.parse(reply.text)).toMatchObject({ ok: false, error: { code: 'FORBIDDEN' } });
      }
    }
  });

  test('with the token it calls functions, and shows documents, live queries and the log', async () => {
    expect(await ask(page, 'call', { name: 'notes.add', args: { body: 'one' } })).toMatchObject({ status: 200 });
    expect(await ask(page, 'call', { name: 'notes.list' })).toMatchObject({ data: ['one'] });
    expect(await ask(page, 'call', { name: 'notes.count' })).toMatchObject({ data: 1 });
    const given = { name: 'notes.whoami', context: { user: 'ada' } };
    expect(await ask(page, 'call', given)).toMatchObject({ data: 'ada' });
    const signedIn = { name: 'notes.member', context: { auth: { user: { id: 'u1' } } } };
    expect(await ask(page, 'call', signedIn)).toMatchObject({ data: 'u1' });
    expect(await ask(page, 'call', { name: 'notes.add', args: {} })).toMatchObject({ status: 400 });
    expect(await ask(page, 'call', { name: 'convoy: stored documents' })).toMatchObject({ status: 404 });
    expect(await ask(page, 'latest', { table: 'notes' })).toMatchObject({ data: [{ body: 'one' }] });
    expect(await ask(page, 'latest', { table: 'pg_authid' })).toMatchObject({ status: 404 });
    expect(await ask(page, 'input', { name: 'notes.add' })).toMatchObject({
      data: { type: 'object', properties: { body: { type: 'string' } }, required: ['body'] },
    });
    const { data } = await ask(page, 'state', { seenLines: 0 });
    expect(data).toMatchObject({
      tables: ['notes'],
      internalCallable: true,
      problem: null,
      live: { queries: [] },
      log: { lines: expect.arrayContaining(['this is printed']) },
    });
    expect((data as { functions: unknown }).functions).toContainEqual({
      name: 'notes.count',
      kind: 'query',
      internal: true,
    });
  });
});

test('with --host internal functions cannot be called, and other machines get nothing', async () => {
  const app = await project();
  onTestFinished(() => app.remove());
  const { origin, token } = await dev(app, '--host', '0.0.0.0');
  const { port } = new URL(origin);
  const page = { origin: `http://127.0.0.1:${port}`, token };
  expect(await ask(page, 'state', {})).toMatchObject({ data: { internalCallable: false } });
  expect(await ask(page, 'call', { name: 'notes.count' })).toMatchObject({ status: 403 });
  expect(await ask(page, 'input', { name: 'notes.count' })).toMatchObject({ status: 403 });
  expect(await ask(page, 'call', { name: 'notes.list' })).toMatchObject({ data: [] });
  const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  const other = addresses.find(({ internal, family }) => !internal && family === 'IPv4');
  // On a machine without a network, the tests of the engine cover peers.
  if (other === undefined) return;
  const host = `127.0.0.1:${port}`;
  const reply = await request(`http://${other.address}:${port}/_convoy`, { host });
  expect(reply.status).toBe(403);
});

test('in production there is no such page', async () => {
  const app = await project();
  onTestFinished(() => app.remove());
  expect((await app.run(['build'])).code).toBe(0);
  expect((await app.run(['migrate'])).code).toBe(0);
  const { url } = await app.serve();
  expect((await request(`${url}/_convoy`, {})).status).toBe(404);
});
