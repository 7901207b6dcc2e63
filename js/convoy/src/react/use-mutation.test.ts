// @vitest-environment happy-dom
import { act } from 'react';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { HandTransport } from '../../testing/hand-transport.js';
import { probe, screen } from '../../testing/screen.js';
import { type ConvoyClient, createConvoyClient } from '../client/client.js';
import { loadMutations } from '../client/lazy-mutations.js';
import { makeMutationRef } from '../protocol/refs.js';
import { ConvoyError } from '../values/errors.js';
import { useMutation, useMutationState } from './use-mutation.js';

beforeAll(loadMutations);

const send = makeMutationRef<{ body: string }, string>('messages.send');

let transport: HandTransport;
let client: ConvoyClient;
beforeEach(() => {
  transport = new HandTransport();
  client = createConvoyClient({ transport });
});
afterEach(() => client.close());

test('`useMutation` returns the same function on every render, which calls and rejects like the client', async () => {
  const form = probe(() => useMutation(send, { client }));
  const mounted = await screen(form.with({}));
  await mounted.render(form.with({}));
  expect(new Set(form.renders).size).toBe(1);
  transport.answer = () => 'id1';
  expect(await form.result({ body: 'a' })).toBe('id1');
  expect(transport.calls[0]).toMatchObject({ kind: 'mutation', name: 'messages.send', args: '{"body":"a"}' });
  transport.answer = () => Promise.reject(new ConvoyError('CONFLICT', 'taken'));
  await expect(form.result({ body: 'a' })).rejects.toMatchObject({ code: 'CONFLICT' });
  await mounted.unmount();
});

test('`useMutationState` shows a call in flight, and its failure, which need not be awaited', async () => {
  const form = probe(() => useMutationState(send, { client }));
  const mounted = await screen(form.with({}));
  let fail = (_error: ConvoyError) => {};
  transport.answer = () =>
    new Promise((_resolve, reject) => {
      fail = reject;
    });
  await act(async () => void form.result.mutate({ body: 'a' }));
  expect(form.result).toMatchObject({ isLoading: true, error: null });
  await act(async () => fail(new ConvoyError('CONFLICT', 'taken')));
  expect(form.result).toMatchObject({ isLoading: false, error: { code: 'CONFLICT' } });
  await act(async () => form.result.reset());
  expect(form.result).toMatchObject({ isLoading: false, error: null });
  await mounted.unmount();
});

test('only the latest call counts', async () => {
  const form = probe(() => useMutationState(send, { client }));
  const mounted = await screen(form.with({}));
  const resolvers: ((answer: string) => void)[] = [];
  transport.answer = () => new Promise((resolve) => resolvers.push(resolve));
  await act(async () => {
    void form.result.mutate({ body: 'a' });
    void form.result.mutate({ body: 'b' });
  });
  await act(async () => resolvers[0]?.('first'));
  expect(form.result.isLoading).toBe(true);
  await act(async () => resolvers[1]?.('second'));
  expect(form.result.isLoading).toBe(false);
  await mounted.unmount();
});
