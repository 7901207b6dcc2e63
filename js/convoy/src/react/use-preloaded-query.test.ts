// @vitest-environment happy-dom
import { act, Component, createElement, type ReactNode, StrictMode } from 'react';
import { hydrateRoot, type Root } from 'react-dom/client';
import { renderToString } from 'react-dom/server';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { HandTransport } from '../../testing/hand-transport.js';
import { screen } from '../../testing/screen.js';
import { type ConvoyClient, createConvoyClient } from '../client/client.js';
import { type Preloaded, preloadedOf } from '../protocol/preloaded.js';
import { makeQueryRef } from '../protocol/refs.js';
import { ConvoyError, isConvoyError } from '../values/errors.js';
import { ConvoyProvider } from './context.js';
import { usePreloadedQuery } from './use-preloaded-query.js';
import { useQuery } from './use-query.js';

const list = makeQueryRef<{ room: string }, string[]>('messages.list');
const OPEN = { connectionState: 'open', isReconnecting: false } as const;

function preloadedWith(data: string[], hash = 'h1'): Preloaded<typeof list> {
  const headers = new Headers({ 'convoy-hash': hash, 'convoy-position': 'p.1' });
  return preloadedOf(list, '{"room":"a"}', { headers, data });
}

let transport: HandTransport;
let client: ConvoyClient;
const roots: Root[] = [];
beforeEach(() => {
  transport = new HandTransport();
  client = createConvoyClient({ transport });
});
afterEach(async () => {
  for (const root of roots.splice(0)) await act(async () => root.unmount());
  client.close();
});

class Boundary extends Component<{ children: ReactNode }, { error: unknown }> {
  override state = { error: null as unknown };
  static getDerivedStateFromError = (error: unknown) => ({ error });
  override render(): ReactNode {
    return isConvoyError(this.state.error) ? this.state.error.code : this.props.children;
  }
}

/** Renders the page on a "server" and hydrates it; `texts` has the text of every state of the page. */
async function hydrated(preloaded: Preloaded<typeof list>, { strict = false } = {}) {
  const rendered: string[] = [];
  function Messages() {
    const text = usePreloadedQuery(preloaded).join(' ');
    rendered.push(text);
    return createElement('p', null, text);
  }
  const page = createElement(
    strict ? StrictMode : 'main',
    null,
    createElement(ConvoyProvider, { client }, createElement(Boundary, null, createElement(Messages))),
  );
  const element = document.createElement('div');
  element.innerHTML = renderToString(page);
  const html = element.innerHTML;
  const problems: unknown[] = [];
  await act(async () => {
    roots.push(hydrateRoot(element, page, { onRecoverableError: (error) => problems.push(error) }));
  });
  return { html, problems, rendered, text: () => element.textContent };
}

test.each([false, true])(
  'the page is rendered with the result and hydrated without another (strict: %s)',
  async (strict) => {
    const page = await hydrated(preloadedWith(['one', 'two']), { strict });
    expect(page.html).toContain('<p>one two</p>');
    expect(new Set(page.rendered)).toEqual(new Set(['one two']));
    expect(page.problems).toEqual([]);
    expect(transport.calls).toEqual([]);
    expect(transport.subscriptions.filter(({ closed }) => !closed)).toHaveLength(1);
    const { initial, sink } = transport.open({ room: 'a' });
    expect(initial).toMatchObject({ data: ['one', 'two'], text: '["one","two"]', hash: 'h1', position: 'p.1' });

    await act(async () => {
      sink.connection(OPEN);
      sink.same();
    });
    expect(new Set(page.rendered)).toEqual(new Set(['one two']));
    await act(async () => sink.result(['one', 'two', 'three']));
    expect(page.text()).toBe('one two three');
  },
);

test('a result that another component has by then is shown after hydration, without an error', async () => {
  const other = await screen(createElement(ConvoyProvider, { client }, createElement(Other)));
  await act(async () => transport.open({ room: 'a' }).sink.result(['newer']));
  const page = await hydrated(preloadedWith(['older']));
  expect(page.html).toContain('older');
  expect(page.problems).toEqual([]);
  expect(page.text()).toBe('newer');
  await other.unmount();
});

function Other() {
  return createElement('i', null, useQuery(list, { room: 'a' }).status);
}

test('the caller who may no longer see the result gets the error; a failure of another kind leaves it', async () => {
  const page = await hydrated(preloadedWith(['one']));
  const { sink } = transport.open({ room: 'a' });
  await act(async () => sink.failed(new ConvoyError('INTERNAL', 'broken')));
  expect(page.text()).toBe('one');
  await act(async () => sink.failed(new ConvoyError('FORBIDDEN', 'not yours')));
  expect(page.text()).toBe('FORBIDDEN');
});

test('text of a document cannot end the script element that carries it', () => {
  const preloaded = preloadedWith(['</script><script>alert(1)</script>', '<!-- ']);
  expect(JSON.stringify(preloaded)).not.toContain('<');
  expect(JSON.parse(preloaded.data)).toEqual(['</script><script>alert(1)</script>', '<!-- ']);
});
