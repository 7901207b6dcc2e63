/** `convoy openapi`: an independent validator accepts the document, and a client that is generated from it works. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Validator } from '@seriousme/openapi-schema-validator';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CommandLine } from './command-line.js';
import { clientProject, generateClient } from './generated-client.js';

const FUNCTIONS = `import { defineRef, idOf } from '@avvos/convoy';
import { z } from 'zod';
import { internalQuery, mutation, query } from '../_generated/server';

console.log('printed while the module is loaded');
const Note = z.object({ id: z.string(), body: z.string(), at: z.date() }).meta({ id: 'Note' });
const Tree = z.object({ name: z.string(), get children() { return z.array(Tree); } });

export const list = query({
  input: z.object({ limit: z.number().int().max(100).default(20) }).meta({ title: 'The latest notes' }),
  returns: z.array(Note),
  handler: async (ctx, { limit }) => {
    const rows = await ctx.db.query('notes').order('desc').take(limit);
    return rows.map(({ id, body, _creationTime }) => ({ id, body, at: new Date(_creationTime) }));
  },
});
export const add = mutation({
  input: { body: z.string().min(1).meta({ examples: ['Buy milk'] }), parent: defineRef('notes').optional() },
  returns: z.object({ id: z.string() }),
  handler: async (ctx, { body }) => ({ id: await ctx.db.insert('notes', { body }) }),
});
export const search = query({
  input: { text: z.string() },
  returns: z.array(Note.pick({ body: true })),
  http: 'GET',
  handler: async (ctx, { text }) => (await ctx.db.query('notes').take(50)).filter(({ body }) => body.includes(text)),
});
export const mirror = query({ input: { tree: Tree }, returns: Tree, handler: (_ctx, { tree }) => tree });
export const hidden = internalQuery({ handler: () => 'nothing' });
`;

const ROUTES = `import { route } from './_generated/server';
export const hook = route.post('/hooks/:provider', async (_ctx, request, { provider }) =>
  Response.json({ provider, text: await request.text() }),
);
export const files = route.all('/files/*path', (_ctx, _request, { path }) => new Response(path));
`;

/** The program of a user of the document; `@ts-expect-error` fails where it compiles. */
const CLIENT = `import createClient from 'openapi-fetch';
import type { components, paths } from './schema.js';

export async function useApi(baseUrl: string) {
  const client = createClient<paths>({ baseUrl });
  const added = await client.POST('/api/mutation/notes.add', {
    params: { header: { 'Idempotency-Key': 'once' } },
    body: { body: 'Buy milk & more?' },
  });
  const id: string | undefined = added.data?.data.id;
  const listed = await client.POST('/api/query/notes.list', { body: { limit: 5 } });
  const notes: components['schemas']['Note'][] = listed.data?.data ?? [];
  // @ts-expect-error A note has no title.
  notes[0]?.title;
  // @ts-expect-error The limit is a number.
  const refused = await client.POST('/api/query/notes.list', { body: { limit: 'many' } });
  const code: components['schemas']['convoy.Error']['error']['code'] | undefined = refused.error?.error.code;
  const mirrored = await client.POST('/api/query/notes.mirror', {
    body: { tree: { name: 'a', children: [{ name: 'b', children: [] }] } },
  });
  const name: string | undefined = mirrored.data?.data.children[0]?.name;
  const query = { args: JSON.stringify({ text: 'milk & more?' }) };
  const found = await client.GET('/api/query/notes.search', { params: { query } });
  const bodies: string[] | undefined = found.data?.data.map(({ body }) => body);
  const tag = found.response.headers.get('etag');
  const again = await client.GET('/api/query/notes.search', {
    params: { query },
    headers: { 'If-None-Match': tag },
  });
  // @ts-expect-error The arguments are required.
  client.GET('/api/query/notes.search', { params: { query: {} } }).catch(() => {});
  // @ts-expect-error This query does not answer GET.
  client.GET('/api/query/notes.list', {}).catch(() => {});
  const hooked = await client.POST('/hooks/{provider}', {
    params: { path: { provider: 'stripe' } },
    body: 'paid' as never,
    bodySerializer: String,
    parseAs: 'text',
  });
  const text: string = await client.GET('/files/{path}', { params: { path: { path: 'a' } }, parseAs: 'text' }).then(String);
  // @ts-expect-error The path has another parameter.
  client.POST('/hooks/{provider}', { params: { path: { id: 'stripe' } } }).catch(() => {});
  // @ts-expect-error Internal functions are not in the document.
  client.POST('/api/query/notes.hidden', {}).catch(() => {});
  return { id, notes, code, name, bodies, repeated: again.response.status, hooked: hooked.response.status, text };
}
`;

let app: CommandLine;
beforeAll(async () => {
  app = await CommandLine.create({
    'package.json': '{ "name": "notebook", "version": "2.1.0", "type": "module" }',
    'convoy/schema.ts': `import { defineSchema } from '@avvos/convoy';
import { z } from 'zod';
export default defineSchema({ notes: { body: z.string() } });`,
    'convoy/functions/notes.ts': FUNCTIONS,
    'convoy/http.ts': ROUTES,
    ...clientProject(CLIENT),
  });
});
afterAll(() => app.remove());

test('prints a document that an independent validator accepts, and nothing else', async () => {
  const printed = await app.run(['openapi', '--server', 'https://notes.example', '--app-version', '3.0.0']);
  expect(printed.code, printed.stderr).toBe(0);
  const document = JSON.parse(printed.stdout);
  expect(await new Validator().validate(document)).toMatchObject({ valid: true });
  expect(document).toMatchObject({
    openapi: '3.1.1',
    info: { title: 'notebook', version: '3.0.0' },
    servers: [{ url: 'https://notes.example' }],
  });
  expect(Object.keys(document.paths)).toEqual([
    '/api/mutation/notes.add',
    '/api/query/notes.list',
    '/api/query/notes.mirror',
    '/api/query/notes.search',
    '/files/{path}',
    '/hooks/{provider}',
  ]);
  expect(printed.stdout).not.toContain('hidden');
  expect(printed.stderr).toContain('printed while the module is loaded');
  // A control of the validator.
  const broken = { ...document, paths: { '/api/x': { post: { responses: { 200: {} } } } } };
  expect(await new Validator().validate(broken)).toMatchObject({ valid: false });
});

test('is the same for built code, and is written to a file', async () => {
  expect((await app.run(['build'])).code).toBe(0);
  const [sources, built] = [await app.run(['openapi']), await app.run(['openapi', '--build', 'convoy-build'])];
  expect(built.stdout).toBe(sources.stdout);
  const written = await app.run(['openapi', '--out', 'openapi.json']);
  expect(written).toMatchObject({ code: 0, stdout: '' });
  expect(written.stderr).toContain('Wrote openapi.json (11 operations)');
  expect(await readFile(join(app.root, 'openapi.json'), 'utf8')).toBe(sources.stdout);
});

test('a client that is generated from it compiles, and calls the server', async () => {
  const { useApi } = await generateClient<{ useApi(url: string): Promise<unknown> }>(app, CLIENT);
  expect((await app.run(['migrate'])).code).toBe(0);
  expect((await app.run(['build'])).code).toBe(0);
  const { url } = await app.serve();
  expect(await useApi(new URL(url).origin)).toMatchObject({
    id: expect.stringMatching(/^notes:/),
    notes: [{ body: 'Buy milk & more?', at: expect.stringMatching(/^\d{4}-/) }],
    code: 'INVALID_ARGS',
    name: 'b',
    bodies: ['Buy milk & more?'],
    repeated: 304,
    hooked: 200,
  });
}, 120_000);

test('the server has the same document: in production where it is asked for, in development at once', async () => {
  expect((await app.run(['migrate'])).code).toBe(0);
  const config = (text: string | null) =>
    app.write({ 'convoy.config.ts': text === null ? null : `export default { ${text} };` });
  const fromCommand = async () => JSON.parse((await app.run(['openapi'])).stdout);
  const serve = async () => {
    expect((await app.run(['build'])).code).toBe(0);
    return app.serve();
  };
  const closed = await serve();
  const refused = await fetch(`${closed.url}/openapi.json`);
  expect([refused.status, (await refused.json()).error.code]).toEqual([404, 'NOT_FOUND']);
  await config('openapi: true');
  const { url } = await serve();
  const response = await fetch(`${url}/openapi.json`);
  expect(await response.json()).toEqual(await fromCommand());
  const tag = response.headers.get('etag') ?? '';
  const current = await fetch(`${url}/openapi.json`, { headers: { 'If-None-Match': tag } });
  expect([current.status, current.headers.get('cache-control')]).toEqual([304, 'no-cache']);
  expect((await fetch(`${url}/openapi.json`, { method: 'HEAD' })).headers.get('etag')).toBe(tag);
  expect((await fetch(`${url}/openapi.json`, { method: 'POST' })).status).toBe(405);
  await config("openapi: { title: 'Notes', servers: ['https://notes.example'] }");
  const named = await serve();
  const document = await (await fetch(`${named.url}/openapi.json`)).json();
  expect(document).toMatchObject({
    info: { title: 'Notes', version: '2.1.0' },
    servers: [{ url: 'https://notes.example' }],
  });
  expect(document).toEqual(await fromCommand());
  await config(null);
  const dev = app.start(['dev', '--no-types', '--port', '0']);
  const [address] = await dev.prints(/http:\/\/[^\s/]+/);
  const inDev = async () => (await (await fetch(`${address}/api/openapi.json`)).json()) as { paths: object };
  expect(await inDev()).toEqual(await fromCommand());
  await app.write({
    'convoy/functions/later.ts': `import { query } from '../_generated/server';
export const added = query({ handler: () => 1 });`,
  });
  await dev.prints(/later\.ts changed: loaded/);
  expect(Object.keys((await inDev()).paths)).toContain('/api/query/later.added');
  await app.write({ 'convoy/functions/later.ts': null });
}, 120_000);

test('names the function whose schema cannot be listed', async () => {
  await app.write({
    'convoy/functions/other.ts': `import { z } from 'zod';
import { query } from '../_generated/server';
const Note = z.object({ other: z.string() }).meta({ id: 'Note' });
export const other = query({ returns: Note, handler: () => ({ other: '' }) });`,
  });
  const refused = await app.run(['openapi']);
  await app.write({ 'convoy/functions/other.ts': null });
  expect(refused).toMatchObject({ code: 1, stdout: '' });
  expect(refused.stderr).toContain('other.other: Two schemas have the id "Note" in .meta(); give each its own.');
});
