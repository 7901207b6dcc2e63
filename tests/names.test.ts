/** Error messages for names that cannot be called, queries that were not run, and unknown arguments. */
import { action, idOf, internalQuery, mutation, query } from '@avvos/convoy';
import { makeActionRef, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { sql } from '@avvos/convoy/sql';
import { afterEach, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { schema, serve } from './app.js';

const NOT_RUN = 'end the query with collect(), take(n) or first()';
const functions = {
  messages: {
    list: query({ input: { limit: z.number().optional() }, handler: () => [] }),
    send: mutation({ handler: () => null }),
    secret: internalQuery({ handler: () => 'secret' }),
    unfinished: query({ handler: (ctx) => ctx.db.query('channels') as never }),
    inside: mutation({ handler: (ctx) => ({ list: [ctx.db.query('channels').order('desc')] }) as never }),
    first: query({
      handler: async (ctx) => {
        const [row] = await ctx.db.raw<{ id: string }>(sql`select id from channels`);
        return row === undefined ? null : ctx.db.get(idOf('channels', row.id));
      },
    }),
    outer: action({ handler: (ctx) => ctx.runQuery(makeQueryRef<object, null>('mesages.list'), {}) }),
    joined: mutation({ handler: (ctx) => ctx.runQuery(makeQueryRef<object, null>('messages.list'), { limt: 1 }) }),
  },
};

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const app of open.splice(0)) await app.close();
  vi.restoreAllMocks();
});

async function served(dev: boolean) {
  const app = await serve({ schema, functions, dev } as never);
  open.push(app);
  const call = async (path: string, body: object = {}) => {
    const response = await fetch(`${app.baseUrl}/api/${path}`, { method: 'POST', body: JSON.stringify(body) });
    const { error } = (await response.json()) as { error?: { code: string; message: string } };
    return { status: response.status, message: error?.message ?? '' };
  };
  const streamed = async (name: string) => {
    const response = await fetch(`${app.baseUrl}/api/subscribe?name=${name}&args={}`);
    return { status: response.status, message: JSON.parse(await response.text()).error.message as string };
  };
  return { ...app, call, streamed };
}

test('in development clients receive the closest name, or why a function cannot be called', async () => {
  const app = await served(true);
  for (const call of [(name: string) => app.call(`query/${name}`), app.streamed]) {
    expect(await call('messages.lst')).toEqual({
      status: 404,
      message: 'No query is called `messages.lst`; did you mean `messages.list`?',
    });
    expect((await call('messages.send')).message).toContain('`messages.send` is a mutation');
    expect((await call('messages.secret')).message).toContain('`messages.secret` is internal');
    expect((await call('convoy:%20stored%20documents')).message).not.toContain('did you mean');
  }
  expect((await app.call('mutation/messages.list')).message).toContain('`messages.list` is a query');
});

test('in production unknown, internal and wrong-kind names get the same response', async () => {
  const app = await served(false);
  for (const call of [(name: string) => app.call(`query/${name}`), app.streamed]) {
    const answers = await Promise.all(
      ['messages.lst', 'messages.send', 'messages.secret'].map(async (name) => {
        const { status, message } = await call(name);
        return { status, message: message.replaceAll(name, 'NAME') };
      }),
    );
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
    expect(answers[0]?.message).toContain('No public query is called `NAME`');
  }
});

test('calls from inside the process get suggestions in production, too', async () => {
  const { convoy } = await served(false);
  const messageOf = (work: Promise<unknown>) =>
    work.then(
      () => '',
      (error: Error) => error.message,
    );
  expect(await messageOf(convoy.query(makeQueryRef('messages.sned'), {}))).toContain('did you mean `messages.send`?');
  expect(await messageOf(convoy.query(makeQueryRef('messages.send'), {}))).toContain('`messages.send` is a mutation');
  expect(await messageOf(convoy.mutation(makeMutationRef('messages.list'), {}))).toContain(
    '`messages.list` is a query',
  );
  expect(await messageOf(convoy.query(makeQueryRef('messages.secret'), {}))).toBe('');
});

test('`ctx.run…` suggests the closest name', async () => {
  const app = await served(true);
  expect((await app.call('action/messages.outer')).message).toContain('did you mean messages.list?');
  const error = await app.convoy.action(makeActionRef('messages.outer'), {}).catch((thrown: Error) => thrown);
  expect(String(error)).toContain('did you mean messages.list?');
});

test('an error for a query that was returned and not run explains how to run it', async () => {
  const app = await served(true);
  const returned = await app.call('query/messages.unfinished');
  expect(returned.status).toBe(500);
  expect(returned.message).toContain(NOT_RUN);
  expect((await app.call('mutation/messages.inside')).message).toContain(`\`list[0]\` of its result is a`);
  expect((await app.call('mutation/messages.inside')).message).toContain(NOT_RUN);
});

test('a dropped argument is warned of once in development, and never in production', async () => {
  const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
  const warnings = () => warn.mock.calls.map(([text]) => String(text)).filter((text) => text.includes('is dropped'));
  const dev = await served(true);
  await dev.call('query/messages.list', { limit: 1, limt: 2 });
  await dev.call('query/messages.list', { limt: 3 });
  expect(warnings()).toEqual([expect.stringContaining('messages.list: the argument `limt` is not in its `input`')]);
  await dev.call('mutation/messages.joined');
  expect(warnings()).toHaveLength(1);
  const production = await served(false);
  await production.call('query/messages.list', { limt: 2 });
  expect(warnings()).toHaveLength(1);
});

test('a bare uuid of raw becomes an id', async () => {
  const app = await served(false);
  await app.psql.query(`insert into channels (data) values ('{"name":"general"}')`);
  const answer = await app.convoy.query(makeQueryRef<object, { name: string }>('messages.first'), {});
  expect(answer).toMatchObject({ name: 'general' });
});
