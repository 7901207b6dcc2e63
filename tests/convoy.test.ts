/** Everything from schema to client in one process, over real sockets and a real Postgres. */
import { ConvoyError } from '@avvos/convoy';
import type { ArgsOfRef, ConvoyClient, QueryRef, ResultOfRef } from '@avvos/convoy/client';
import { afterEach, describe, expect, test } from 'vitest';
import { api, functions, post, schema, serve } from './app.js';

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const app of open.splice(0)) await app.close();
});
async function served(...args: Parameters<typeof serve>) {
  const app = await serve(...args);
  open.push(app);
  return app;
}

/** Watches a query; `until` waits for a matching result. */
function watching<Ref extends QueryRef>(client: ConvoyClient, ref: Ref, args: ArgsOfRef<Ref>) {
  let latest: ResultOfRef<Ref> | null = null;
  let onChange = () => {};
  const stop = client.watch(ref, args, (snapshot) => {
    latest = snapshot.data;
    onChange();
  });
  return {
    stop,
    async until(matches: (data: ResultOfRef<Ref>) => boolean): Promise<ResultOfRef<Ref>> {
      while (latest === null || !matches(latest)) {
        await new Promise<void>((resolve) => {
          onChange = resolve;
        });
      }
      return latest;
    },
  };
}

describe('calls', () => {
  test('a document is stored and read back, in the process and over the wire', async () => {
    const { convoy, client } = await served();
    const channelId = await convoy.mutation(api.channels.create, { name: 'general' });
    const id = await client.mutation(api.messages.send, { channelId, body: 'grüß dich 👋' });
    const [message] = await client.query(api.messages.list, { channelId });
    expect(message).toMatchObject({ id, channelId, body: 'grüß dich 👋', likes: 0 });
    expect(Math.abs(Date.now() - (message?._creationTime ?? 0))).toBeLessThan(60_000);
    expect(await convoy.mutation(api.messages.like, { id })).toMatchObject({ likes: 1 });
  });

  test('insertMany stores all documents or none, and getMany returns them in the order of the ids', async () => {
    const { convoy, client, psql } = await served();
    const channelId = await convoy.mutation(api.channels.create, { name: 'general' });
    const ids = await client.mutation(api.messages.sendMany, { channelId, bodies: ['one', 'two', 'three'] });
    expect([...ids].sort()).toEqual(ids);
    const gone = 'messages:00000000-0000-7000-8000-000000000000' as const;
    const [last, missing, channel, first] = await client.query(api.messages.getMany, {
      ids: [ids[2] ?? gone, gone, channelId, ids[0] ?? gone],
    });
    expect([last, missing, channel, first]).toMatchObject([
      { body: 'three' },
      null,
      { name: 'general' },
      { body: 'one' },
    ]);
    const oneTooLong = client.mutation(api.messages.sendMany, { channelId, bodies: ['four', 'x'.repeat(2_001)] });
    await expect(oneTooLong).rejects.toMatchObject({ code: 'INVALID_ARGS', details: { table: 'messages' } });
    expect((await psql.query('select from messages')).rowCount).toBe(3);
    expect(await client.mutation(api.messages.sendMany, { channelId, bodies: [] })).toEqual([]);
  });

  test('invalid input names the field, and an id of another table is invalid input', async () => {
    const { convoy, baseUrl } = await served();
    const channelId = await convoy.mutation(api.channels.create, { name: 'general' });
    const wrong = await post(baseUrl, 'mutation/messages.send', JSON.stringify({ channelId, body: 5 }));
    expect(wrong).toMatchObject({ status: 400, answer: { error: { code: 'INVALID_ARGS' } } });
    expect(wrong.answer.error).toMatchObject({ details: { issues: [{ path: ['body'] }] } });
    const foreign = await post(baseUrl, 'mutation/messages.like', JSON.stringify({ id: channelId }));
    expect(foreign.answer.error).toMatchObject({ code: 'INVALID_ARGS', details: { issues: [{ path: ['id'] }] } });
    const malformed = await post(baseUrl, 'query/messages.list', '{"channelId": ');
    expect(malformed).toMatchObject({ status: 400, answer: { error: { code: 'INVALID_ARGS' } } });
  });

  test('a document that does not match its table is refused before anything is written', async () => {
    const { convoy, client, psql } = await served();
    const channelId = await convoy.mutation(api.channels.create, { name: 'general' });
    const tooLong = client.mutation(api.messages.send, { channelId, body: 'x'.repeat(2_001) });
    await expect(tooLong).rejects.toMatchObject({ code: 'INVALID_ARGS', details: { table: 'messages' } });
    const nul = client.mutation(api.messages.send, { channelId, body: 'a\u0000b' });
    await expect(nul).rejects.toMatchObject({ code: 'INVALID_ARGS' });
    expect((await psql.query('select from messages')).rowCount).toBe(0);
  });

  test('an error thrown by a handler stays on the server, unless it is a ConvoyError', async () => {
    const { client, baseUrl, psql } = await served();
    const broke = await client.mutation(api.faults.throws, {}).catch((error: unknown) => error);
    expect(broke).toBeInstanceOf(ConvoyError);
    expect(broke).toMatchObject({ code: 'INTERNAL', status: 500, errorId: expect.stringMatching(/^[0-9a-f]{32}$/) });
    expect(JSON.stringify(await post(baseUrl, 'mutation/faults.throws', '{}'))).not.toContain('hunter2');
    const id = `messages:00000000-0000-7000-8000-000000000000` as const;
    const refused = client.mutation(api.messages.like, { id });
    await expect(refused).rejects.toMatchObject({
      code: 'NOT_FOUND',
      message: 'This message is gone.',
      details: { id },
    });
    expect((await psql.query('select from channels')).rowCount).toBe(0);
  });

  test('a write that was not awaited still decides whether the mutation commits', async () => {
    const { client, psql } = await served();
    await expect(client.mutation(api.faults.unawaited, {})).rejects.toMatchObject({ code: 'CONFLICT' });
    expect((await psql.query('select from channels')).rowCount).toBe(0);
  });

  test('a mutation over its write limit stores nothing, with held inserts or without', async () => {
    const { client, convoy, psql } = await served({ limits: { maxDocumentsWritten: 10 } });
    const channelId = await convoy.mutation(api.channels.create, { name: 'general' });
    for (const [before, after, reads] of [
      [11, 0, false],
      [11, 0, true],
      [3, 8, true],
    ] as const) {
      const over = client.mutation(api.faults.many, { channelId, before, after, reads });
      await expect(over).rejects.toMatchObject({ code: 'PAYLOAD_TOO_LARGE' });
    }
    expect((await psql.query('select from messages')).rowCount).toBe(0);
    await client.mutation(api.faults.many, { channelId, before: 3, after: 7, reads: true });
    expect((await psql.query('select from messages')).rowCount).toBe(10);
  });

  test('a refused write fails the mutation unless its rejection was handled', async () => {
    const { client, psql } = await served();
    await expect(client.mutation(api.faults.refused, { handles: false })).rejects.toMatchObject({
      code: 'INVALID_ARGS',
    });
    expect((await psql.query('select from channels')).rowCount).toBe(0);
    await client.mutation(api.faults.refused, { handles: true });
    expect((await psql.query('select from channels')).rowCount).toBe(1);
  });
});

describe('live queries', () => {
  test('writes by another client and by SQL both reach a watch', async () => {
    const { client, another, psql, convoy } = await served();
    const channelId = await client.mutation(api.channels.create, { name: 'general' });
    const elsewhere = await client.mutation(api.channels.create, { name: 'elsewhere' });
    const list = watching(another(), api.messages.list, { channelId });
    await list.until((messages) => messages.length === 0);
    await client.mutation(api.messages.send, { channelId, body: 'one' });
    await list.until((messages) => messages[0]?.body === 'one');
    const runs = convoy.stats().handlerRuns ?? 0;
    await client.mutation(api.messages.send, { channelId: elsewhere, body: 'not here' });
    await psql.query(
      `insert into messages (data) values (jsonb_build_object('channelId', $1::text, 'body', 'by hand'))`,
      [channelId],
    );
    const [newest] = await list.until((messages) => messages.length === 2);
    // Stored without `likes`, whose constant default fills it when it is read.
    expect(newest).toMatchObject({ body: 'by hand', likes: 0 });
    expect(convoy.stats().handlerRuns).toBe(runs + 2);
    list.stop();
  });

  test('new code reaches open watches without a new connection', async () => {
    const { client, convoy } = await served();
    const channelId = await client.mutation(api.channels.create, { name: 'general' });
    await client.mutation(api.messages.send, { channelId, body: 'x' });
    const list = watching(client, api.messages.list, { channelId });
    await list.until((messages) => messages.length === 1);
    const loud = {
      ...functions.messages.list,
      handler: async () => [{ body: 'NEW CODE' }],
    };
    await convoy.load({ schema, functions: { ...functions, messages: { ...functions.messages, list: loud } } });
    await list.until((messages) => messages[0]?.body === 'NEW CODE');
    expect(convoy.stats().subscribers).toBe(1);
    list.stop();
  });

  test('code that fails to load leaves the previous code in place', async () => {
    const { client, convoy } = await served();
    const broken = { channels: { name: 'no table' } };
    await expect(convoy.load({ schema: { tables: broken } as never, functions })).rejects.toThrow();
    await client.mutation(api.channels.create, { name: 'still served' });
  });
});
