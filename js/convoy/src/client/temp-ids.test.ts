import { expect, test } from 'vitest';
import { HandTransport } from '../../testing/hand-transport.js';
import { makeMutationRef } from '../protocol/refs.js';
import { createConvoyClient } from './client.js';
import { MAX_IDS, TempIds } from './temp-ids.js';

test('as many ids as the limit are remembered, and one more displaces the oldest', () => {
  const ids = new TempIds();
  const temporary = Array.from({ length: MAX_IDS + 1 }, () => TempIds.create('items'));
  const create = (at: number) => ids.resolve([temporary[at] as string], `items:${at}`, false);
  const found = (at: number) => [ids.replaceIn(JSON.stringify(temporary[at])), ids.keyOf(`items:${at}`)];
  for (let at = 0; at < MAX_IDS; at++) create(at);
  expect(found(0)).toEqual(['"items:0"', temporary[0]]);
  create(MAX_IDS);
  expect(found(0)).toEqual([JSON.stringify(temporary[0]), 'items:0']);
  for (const at of [1, MAX_IDS]) expect(found(at)).toEqual([`"items:${at}"`, temporary[at]]);
});

test('a mutation with an id that is not known is refused with all reasons', async () => {
  const transport = new HandTransport();
  const client = createConvoyClient({ transport });
  const toggled = client.mutation(makeMutationRef<{ id: string }, null>('items.toggle'), {
    id: TempIds.create('items'),
  });
  const message = expect.stringContaining(`has not ended or has failed, or ${MAX_IDS} documents were created since.`);
  await expect(toggled).rejects.toMatchObject({ code: 'INVALID_ARGS', message });
  expect(transport.calls).toEqual([]);
  client.close();
});
