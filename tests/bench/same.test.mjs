import { once } from 'node:events';
import { createServer } from 'node:http';
import { afterEach, expect, it } from 'vitest';
import { checkSame } from './same.mjs';

const OLD = 'messages:01900000-0000-7000-8000-000000000001';
const NEW = 'messages:019a0000-0000-7000-8000-00000000000';

const read = {
  bodies: () => ({ picked: { ids: [OLD], picks: 1, before: '{"id":"', between: '', after: '"}' } }),
  ours: '/get',
  theirs: [{ server: 'fastify', path: '/get' }],
  same: true,
};
const insert = {
  bodies: () => ({ inTurn: ['{"text":"hello"}'] }),
  ours: '/send',
  theirs: [
    { server: 'fastify', path: '/send' },
    { server: 'fastify', path: '/send-in-transaction' },
  ],
  writes: 'messages',
};
const mix = { mix: [read, insert], ours: ['/get', '/send'], theirs: [{ server: 'fastify', path: ['/get', '/send'] }] };

const servers = [];
afterEach(() => servers.splice(0).forEach((server) => void server.close()));

/** Two servers that keep texts in tables of their own; the answers and the rows of `fastify` are given. */
async function bench({ answer = (path, id) => (path === '/get' ? { id: OLD } : id), row = (text) => text }) {
  const tables = { public: [], fastify: [] };
  const calls = [];
  let inserted = 0;
  const start = async (schema, answerOf, rowOf) => {
    const server = createServer(async (request, response) => {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      const { text } = JSON.parse(Buffer.concat(chunks).toString());
      calls.push(`${schema} ${request.url}`);
      if (text !== undefined) tables[schema].push(rowOf(text));
      inserted += 1;
      response.setHeader('connection', 'close');
      response.end(JSON.stringify({ ok: true, data: answerOf(request.url, `${NEW}${inserted}`) }));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    servers.push(server);
    return { address: `127.0.0.1:${server.address().port}` };
  };
  const database = {
    ids: () => [OLD],
    now: async () => ({ public: tables.public.length, fastify: tables.fastify.length }),
    writtenSince: async (began, { schema }) => tables[schema].slice(began[schema]),
  };
  const honest = (path, id) => (path === '/get' ? { id: OLD } : id);
  return {
    servers: { convoy: await start('public', honest, (text) => text), fastify: await start('fastify', answer, row) },
    database,
    calls,
  };
}

it('accepts contestants that differ in new ids alone, and reads before it writes', async () => {
  const both = await bench({});
  await checkSame(both, [insert, read, mix]);
  expect(both.calls).toEqual([
    ...['public /get', 'fastify /get', 'public /get', 'fastify /get'],
    ...['public /send', 'fastify /send', 'public /send', 'fastify /send-in-transaction'],
    ...['public /send', 'fastify /send'],
  ]);
});

it.each([
  ['a read with another answer', read, { answer: () => ({ id: OLD, likes: 1 }) }],
  ['a write with another answer', insert, { answer: () => OLD }],
  ['a write of another row', insert, { row: (text) => `${text}!` }],
  ['a part of a mix', mix, { answer: (path, id) => (path === '/get' ? null : id) }],
])('rejects %s', async (_, work, fastify) => {
  await expect(checkSame(await bench(fastify), [work])).rejects.toThrow('do the same');
});
