/** `useSuspenseQuery` where there is no page: a server renders the result. */
import { createElement, Suspense } from 'react';
import { renderToReadableStream } from 'react-dom/server.edge';
import { expect, test } from 'vitest';
import { HandTransport } from '../../testing/hand-transport.js';
import { createConvoyClient } from '../client/client.js';
import { makeQueryRef } from '../protocol/refs.js';
import { ConvoyError } from '../values/errors.js';
import { ConvoyProvider } from './context.js';
import { useSuspenseQuery } from './use-suspense-query.js';

const list = makeQueryRef<{ room: string }, string[]>('messages.list');

function Messages() {
  return createElement('p', null, useSuspenseQuery(list, { room: 'a' }).join(' '));
}

async function render(transport: HandTransport, onError = (_error: unknown) => {}): Promise<string> {
  const client = createConvoyClient({ transport });
  const page = createElement(
    ConvoyProvider,
    { client },
    createElement(Suspense, { fallback: 'loading' }, createElement(Messages)),
  );
  const stream = await renderToReadableStream(page, { onError });
  await stream.allReady;
  const html = await new Response(stream).text();
  client.close();
  return html;
}

test('the result is in the page, by one call and without a subscription', async () => {
  const transport = new HandTransport();
  transport.answer = () => ['one', 'two'];
  expect(await render(transport)).toContain('<p>one two</p>');
  expect(transport.calls).toHaveLength(1);
  expect(transport.subscriptions).toHaveLength(0);
});

test('an error is left to the page: the fallback is rendered', async () => {
  const transport = new HandTransport();
  transport.answer = () => {
    throw new ConvoyError('FORBIDDEN', 'not yours');
  };
  const errors: unknown[] = [];
  expect(await render(transport, (error) => void errors.push(error))).toContain('loading');
  expect(errors).toMatchObject([{ code: 'FORBIDDEN' }]);
});
