/**
 * The bindings on a server, with the builds of the frameworks for Node: they render the pending state and send nothing.
 * TanStack Query sends one request for a query that a component waits for.
 */
import { type ConvoyClient, createConvoyClient, makeQueryRef } from '@avvos/convoy/client';
import * as solid from '@avvos/convoy/solid';
import * as svelte from '@avvos/convoy/svelte';
import { provideConvoy, queryOptions } from '@avvos/convoy/tanstack';
import * as vue from '@avvos/convoy/vue';
import { dehydrate, QueryClient, QueryClientProvider, useSuspenseQuery } from '@tanstack/react-query';
import { createElement } from 'react';
import { renderToReadableStream } from 'react-dom/server';
import { createComponent, type JSX } from 'solid-js';
import { renderToString as renderSolid, ssr } from 'solid-js/web';
import type { Component } from 'svelte';
import { render as renderSvelte } from 'svelte/server';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createSSRApp, defineComponent, h } from 'vue';
import { renderToString as renderVue } from 'vue/server-renderer';
import { HandTransport } from '../js/convoy/testing/hand-transport.js';

const list = makeQueryRef<{ room: string }, string[]>('messages.list');
const hall = { room: 'hall' };

let transport: HandTransport;
let client: ConvoyClient;
beforeEach(() => {
  transport = new HandTransport();
  client = createConvoyClient({ transport });
});
afterEach(() => client.close());

const bindings: [name: string, render: () => Promise<string>][] = [
  [
    'vue',
    () => {
      const Room = defineComponent(() => {
        const { status, isLoading } = vue.useQuery(list, () => hall);
        return () => h('p', `${status.value} ${isLoading.value}`);
      });
      return renderVue(createSSRApp(Room).use(vue.convoyPlugin(client)));
    },
  ],
  [
    'solid',
    async () => {
      const Room = () => {
        const { status, isLoading } = solid.useQuery(list, () => hall);
        return ssr(['<p>', '</p>'], `${status} ${isLoading}`) as unknown as JSX.Element;
      };
      return renderSolid(() =>
        createComponent(solid.ConvoyProvider, {
          client,
          get children() {
            return createComponent(Room, {});
          },
        }),
      );
    },
  ],
  [
    'svelte',
    async () => {
      // As the compiler writes it.
      const Room = (($$renderer: ServerRenderer) =>
        $$renderer.component(($$renderer) => {
          svelte.provideConvoy(client);
          const { status, isLoading } = svelte.useQuery(list, () => hall);
          $$renderer.push(`<p>${status} ${isLoading}</p>`);
        })) as unknown as Component;
      return renderSvelte(Room).body.replaceAll(/<!--.*?-->/g, '');
    },
  ],
];

interface ServerRenderer {
  component(render: (renderer: ServerRenderer) => void): void;
  push(html: string): void;
}

test.each(bindings)('%s renders the pending state and sends nothing', async (_name, render) => {
  expect(await render()).toBe('<p>pending true</p>');
  expect([transport.subscriptions, transport.calls]).toEqual([[], []]);
});

test('a query of TanStack Query that a component waits for is called once', async () => {
  transport.answer = () => ['a'];
  const queryClient = new QueryClient();
  provideConvoy(queryClient, client);
  const Room = () => createElement('p', null, useSuspenseQuery(queryOptions(list, hall)).data);
  const stream = await renderToReadableStream(
    createElement(QueryClientProvider, { client: queryClient }, createElement(Room)),
  );
  expect(await new Response(stream).text()).toBe('<p>a</p>');
  expect(transport.subscriptions).toEqual([]);
  expect(transport.calls).toMatchObject([{ kind: 'query', name: 'messages.list', args: '{"room":"hall"}' }]);
  expect(dehydrate(queryClient).queries).toMatchObject([{ state: { data: ['a'] } }]);
});
