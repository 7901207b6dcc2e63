// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test } from 'vitest';
import { HandTransport } from '../../testing/hand-transport.js';
import { probe, screen } from '../../testing/screen.js';
import { type ConvoyClient, createConvoyClient } from '../client/client.js';
import { makeActionRef } from '../protocol/refs.js';
import { ConvoyError } from '../values/errors.js';
import { useAction } from './use-action.js';

const invite = makeActionRef<{ to: string }, string>('mail.invite');

let transport: HandTransport;
let client: ConvoyClient;
beforeEach(() => {
  transport = new HandTransport();
  client = createConvoyClient({ transport });
});
afterEach(() => client.close());

test('`useAction` returns the same function on every render, which calls and rejects like the client', async () => {
  const form = probe(() => useAction(invite, { client }));
  const mounted = await screen(form.with({}));
  await mounted.render(form.with({}));
  expect(new Set(form.renders).size).toBe(1);
  transport.answer = () => 'sent';
  expect(await form.result({ to: 'ada' })).toBe('sent');
  expect(transport.calls).toEqual([
    { kind: 'action', name: 'mail.invite', ref: invite, args: '{"to":"ada"}', keepalive: undefined },
  ]);
  transport.answer = () => Promise.reject(new ConvoyError('UNAVAILABLE', 'no mail today'));
  await expect(form.result({ to: 'ada' })).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  await mounted.unmount();
});
