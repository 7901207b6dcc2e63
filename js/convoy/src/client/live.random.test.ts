/**
 * Random histories of a client: results change, frames are lost, connections are cut in the middle of a byte, queries
 * are added and removed. In every one, each query ends with the server's result and never shows an older one after a
 * newer.
 */
import { afterEach, expect, test, vi } from 'vitest';
import { type Answer, type Below, ModelServer, seededRandom, versionOf } from '../../testing/model-server.js';
import { Endpoint } from './endpoint.js';
import { LiveTransport } from './live-transport.js';
import type { Subscription } from './transport.js';

const QUERIES = ['list a', 'list b', 'page a', 'page b', 'list c'];

afterEach(() => {
  vi.restoreAllMocks();
});

/** A subscription that checks the results it receives. */
class Watcher {
  shown: Answer | null = null;
  fresh = false;
  open = false;
  readonly #subscription: Subscription;

  constructor(transport: LiveTransport, of: string, onEvent: () => void) {
    this.#subscription = transport.subscribe(
      { name: 'model', args: JSON.stringify({ of }) },
      {
        result: (data) => {
          const [before, after] = [this.shown === null ? 0 : versionOf(this.shown), versionOf(data as Answer)];
          if (after < before) throw new Error(`${of} went back from ${before} to ${after}`);
          this.shown = data as Answer;
          this.fresh = true;
          onEvent();
        },
        same: () => {
          this.fresh = true;
          onEvent();
        },
        failed: (error) => {
          throw error;
        },
        connection: ({ connectionState }) => {
          this.open = connectionState === 'open';
          this.fresh &&= this.open;
          onEvent();
        },
      },
    );
  }

  refresh(): void {
    this.#subscription.refresh();
  }

  close(): void {
    this.#subscription.close();
  }
}

async function live(seed: number, steps: number): Promise<number> {
  const below = seededRandom(seed);
  let onEvent = () => {};
  const server = new ModelServer(below, () => onEvent());
  const endpoint = new Endpoint({ baseUrl: 'http://model', fetch: server.fetch });
  const transport = new LiveTransport({ endpoint, random: () => 0 });
  const watchers = new Map<string, Watcher>();
  const watch = (of: string) => watchers.set(of, new Watcher(transport, of, () => onEvent()));

  for (let step = 0; step < steps; step += 1) {
    act(below, { server, watchers, watch });
    if (below(3) === 0) await new Promise((resolve) => setTimeout(resolve, 0));
  }

  for (const of of QUERIES) if (!watchers.has(of)) watch(of);
  const upToDate = () =>
    [...watchers].every(([of, { shown, fresh }]) => fresh && sameAnswer(shown, server.current(of)));
  while (!upToDate()) {
    const event = new Promise<void>((resolve) => {
      onEvent = resolve;
    });
    server.ping();
    server.flush('none');
    if (!upToDate()) await event;
  }
  transport.close();
  return server.sessions;
}

interface World {
  readonly server: ModelServer;
  readonly watchers: Map<string, Watcher>;
  readonly watch: (of: string) => void;
}

function act(below: Below, { server, watchers, watch }: World): void {
  const of = QUERIES[below(QUERIES.length)] as string;
  const watcher = watchers.get(of);
  const choice = below(20);
  if (choice < 7) server.change(of);
  else if (choice < 12) server.flush('none');
  else if (choice === 12) server.flush('lost');
  else if (choice === 13) server.flush('cut');
  else if (choice === 14) server.end();
  else if (choice === 15) server.interrupt();
  else if (choice === 16) watcher?.refresh();
  else if (watcher === undefined) watch(of);
  else if (choice === 17) server.corruptHash(of);
  else if (choice === 19) {
    watcher.close();
    watchers.delete(of);
  }
}

const sameAnswer = (a: unknown, b: unknown) => JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));
/** A patched page has its members in another order. */
const sorted = (answer: unknown) =>
  Array.isArray(answer) || answer === null ? answer : Object.entries(answer as object).sort();

test('ends with the server’s results, and never shows an older one after a newer', async () => {
  vi.spyOn(console, 'warn').mockImplementation(() => {});
  let sessions = 0;
  for (let seed = 1; seed <= 40; seed += 1) {
    sessions += await live(seed, 100).catch((error: Error) => {
      throw new Error(`seed ${seed}: ${error.message}`, { cause: error });
    });
  }
  // The test proves little unless connections break often.
  expect(sessions).toBeGreaterThan(250);
}, 30_000);
