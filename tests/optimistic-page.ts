/** The page of `optimistic.browser.test.ts`: a list of switches, and a record of every state that it renders. */
import { type ConvoyClient, createConvoyClient, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { useMutation, useQuery } from '@avvos/convoy/react';
import { createElement } from 'react';
import { createRoot } from 'react-dom/client';

interface Switch {
  readonly id: string;
  readonly name: string;
  readonly on: boolean;
}

/** What the page shows: for each switch whether it is on, and how often it had been clicked by then. */
export interface Rendered {
  readonly clicks: Readonly<Record<string, number>>;
  readonly shown: Readonly<Record<string, boolean>>;
}

export interface OptimisticPage {
  readonly rendered: Rendered[];
  readonly failures: string[];
  click(name: string, options?: { readonly fail?: boolean }): void;
  /** Resolves when all mutations have ended. */
  done(): Promise<void>;
}

const list = makeQueryRef<Record<never, never>, Switch[]>('switches.list');
const toggle = makeMutationRef<{ id: string; fail: boolean }, null>('switches.toggle');

function start(client: ConvoyClient): OptimisticPage {
  const rendered: Rendered[] = [];
  const failures: string[] = [];
  const clicks: Record<string, number> = {};
  const calls: Promise<unknown>[] = [];
  let toggleOf = (_name: string, _fail: boolean): Promise<unknown> => Promise.reject(new Error('not rendered yet'));

  const Switches = () => {
    const { data } = useQuery(list, {}, { client });
    const mutate = useMutation(toggle, {
      client,
      optimistic: (store, { id }) =>
        store.set(list, {}, (all) => all.map((one) => (one.id === id ? { ...one, on: !one.on } : one))),
    });
    toggleOf = (name, fail) => {
      const id = data?.find((one) => one.name === name)?.id;
      if (id === undefined) throw new Error(`There is no switch ${name}`);
      return mutate({ id, fail });
    };
    if (data !== null) {
      rendered.push({ clicks: { ...clicks }, shown: Object.fromEntries(data.map(({ name, on }) => [name, on])) });
    }
    const label = (data ?? []).map(({ name, on }) => `${name}: ${on ? 'on' : 'off'}`).join(', ');
    return createElement('p', { id: 'all' }, label);
  };

  createRoot(document.body.appendChild(document.createElement('main'))).render(createElement(Switches));
  return {
    rendered,
    failures,
    click: (name, { fail = false } = {}) => {
      clicks[name] = (clicks[name] ?? 0) + 1;
      calls.push(toggleOf(name, fail).catch((error: Error) => failures.push(error.message)));
    },
    done: async () => {
      await Promise.all(calls);
    },
  };
}

/** `fetch` whose streams report mutations as settled one frame before the one with their changes. */
const settlingEarly: typeof fetch = async (input, init) => {
  const response = await fetch(input, init);
  if (!String(input).endsWith('/live') || response.body === null) return response;
  let rest = '';
  const early = new TransformStream<string, string>({
    transform: async (chunk, controller) => {
      rest += chunk;
      const events = rest.split('\n\n');
      rest = events.pop() ?? '';
      for (const event of events) {
        const lines = event.split('\n');
        const messages = lines.filter((line) => line.startsWith('data:')).map((line) => JSON.parse(line.slice(5)));
        const settled = messages.filter(({ type }) => type === 'settled');
        const others = messages.filter(({ type }) => type !== 'settled');
        if (settled.length === 0 || others.length === 0) {
          controller.enqueue(`${event}\n\n`);
          continue;
        }
        let seq = messages[0].seq;
        for (const frame of [settled, others]) {
          controller.enqueue(`${frame.map((one) => `data: ${JSON.stringify({ ...one, seq: seq++ })}`).join('\n')}\n\n`);
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
      }
    },
  });
  const body = response.body
    .pipeThrough(new TextDecoderStream())
    .pipeThrough(early)
    .pipeThrough(new TextEncoderStream());
  return new Response(body, { headers: response.headers });
};

const isControl = new URLSearchParams(location.search).has('settlingEarly');
const client = createConvoyClient(isControl ? { fetch: settlingEarly } : {});
(window as unknown as { page: OptimisticPage }).page = start(client);
