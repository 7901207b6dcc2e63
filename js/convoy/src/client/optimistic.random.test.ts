/**
 * Random histories of optimistic mutations: of several clients' commits, of results, reports, lost connections and
 * failures in any order that a server can produce. In every one, each mutation of this client is displayed exactly once
 * from its call on, and is gone once it has failed.
 */
import { beforeAll, expect, test } from 'vitest';
import { HandTransport } from '../../testing/hand-transport.js';
import { type Below, seededRandom } from '../../testing/model-server.js';
import { makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import { ConvoyError } from '../values/errors.js';
import { type ConvoyClient, createConvoyClient } from './client.js';
import { loadMutations } from './lazy-mutations.js';
import { loadOptimistic } from './load-optimistic.js';
import type { OptimisticStore } from './optimistic-layers.js';
import type { MutationTracker } from './transport.js';

const list = makeQueryRef<Record<never, never>, string[]>('items.list');
const add = makeMutationRef<{ name: string }, null>('items.add');

beforeAll(loadMutations);
beforeAll(loadOptimistic);

interface Sent {
  readonly name: string;
  readonly tracker: MutationTracker;
  readonly respond: (error?: ConvoyError) => void;
  /** The session at the time of the call reports it. */
  tracked: boolean;
  committed: boolean;
  responded: boolean;
  failed: boolean;
  /** Results have it, as the client was told. */
  reported: boolean;
}

/** A server with one list, its connection to the client, and the checks of what the client displays. */
class World {
  readonly transport = new HandTransport();
  readonly client: ConvoyClient;
  readonly sent: Sent[] = [];
  #items: string[] = [];
  #connected = true;
  #refreshes = 0;
  #next = 0;
  readonly displayed: string[][] = [];
  /** Names whose promise is rejected. */
  readonly rejected = new Set<string>();
  readonly called: string[] = [];

  constructor() {
    this.client = createConvoyClient({ transport: this.transport });
    this.client.watch(list, {}, ({ data }) => data && this.check(data));
    this.#deliver();
  }

  async mutate(): Promise<void> {
    const name = `own ${this.#next++}`;
    this.called.push(name);
    let respond = (_error?: ConvoyError) => {};
    this.transport.answer = () =>
      new Promise<null>((resolve, reject) => {
        respond = (error) => (error === undefined ? resolve(null) : reject(error));
      });
    const sent = this.transport.calls.length;
    const options = { optimistic: optimisticAdd, parallel: true, await: 'committed' } as const;
    this.client.mutation(add, { name }, options).catch(() => this.rejected.add(name));
    while (this.transport.calls.length === sent) await Promise.resolve();
    const tracker = this.transport.calls.at(-1)?.tracker as MutationTracker;
    const one = { name, tracker, respond, committed: false, responded: false, failed: false, reported: false };
    this.sent.push({ ...one, tracked: this.#connected });
    if (this.#connected) tracker.tracked();
    else tracker.lost();
  }

  commit(one: Sent): void {
    if (one.committed || one.failed) return;
    one.committed = true;
    this.#items.push(one.name);
  }

  other(): void {
    this.#items.push(`other ${this.#next++}`);
  }

  /** A mutation that cannot be committed, or the response to one that is. */
  respond(one: Sent): void {
    if (one.responded || one.failed) return;
    if (one.committed) one.responded = true;
    else one.failed = true;
    one.respond(one.committed ? undefined : new ConvoyError('CONFLICT', 'no'));
  }

  disconnect(): void {
    this.#connected = false;
    for (const one of this.sent) {
      if (one.tracked && !one.reported) one.tracker.lost();
      one.tracked = false;
    }
  }

  /** Sends a frame, also as the first of a new session. */
  frame(): void {
    this.#connected = true;
    this.#deliver();
  }

  #deliver(): void {
    const { sink } = this.transport.open({});
    sink.result([...this.#items]);
    for (const one of this.sent) {
      if (!one.tracked || !one.committed || one.reported) continue;
      one.reported = true;
      one.tracker.settled();
    }
  }

  /** The server answers the requests for a newer result. */
  answerRefreshes(): void {
    const { refreshes } = this.transport.open({});
    if (refreshes === this.#refreshes || !this.#connected) return;
    this.#refreshes = refreshes;
    this.#deliver();
  }

  check(data: readonly string[]): void {
    this.displayed.push([...data]);
    for (const name of this.called) {
      const times = data.filter((each) => each === name).length;
      const one = this.sent.find((each) => each.name === name);
      if (one?.failed) expect(times, `${name} has failed`).toBeLessThanOrEqual(1);
      else expect(times, `${name} in ${data}`).toBe(1);
    }
  }

  now(): readonly string[] {
    return this.client.liveQuery(list, {}).getSnapshot().data ?? [];
  }

  items(): readonly string[] {
    return this.#items;
  }
}

function optimisticAdd(store: OptimisticStore, { name }: { name: string }): void {
  store.set(list, {}, (items) => [...items, name]);
}

/** Lets all promises that are resolved go on. */
async function turn(): Promise<void> {
  for (let n = 0; n < 30; n++) await Promise.resolve();
}

async function history(seed: number): Promise<number> {
  const below: Below = seededRandom(seed);
  const world = new World();
  const steps = [
    () => world.mutate(),
    () => world.mutate(),
    () => world.other(),
    () => pick((one) => world.commit(one)),
    () => pick((one) => world.commit(one)),
    () => pick((one) => world.respond(one)),
    () => world.frame(),
    () => world.frame(),
    () => world.answerRefreshes(),
    () => (below(3) === 0 ? world.disconnect() : undefined),
  ];
  const pick = (act: (one: Sent) => void) => {
    const one = world.sent[below(Math.max(world.sent.length, 1))];
    if (one !== undefined) act(one);
  };
  for (let step = 0; step < 60; step++) {
    await steps[below(steps.length)]?.();
    if (below(2) === 0) await turn();
    world.check(world.now());
  }
  for (const one of world.sent) {
    world.commit(one);
    world.respond(one);
  }
  for (let round = 0; round < 5; round++) {
    await turn();
    world.answerRefreshes();
    world.frame();
  }
  await turn();
  expect(world.now()).toEqual(world.items());
  expect(world.rejected).toEqual(new Set(world.sent.filter(({ failed }) => failed).map(({ name }) => name)));
  world.client.close();
  return world.displayed.length;
}

test('each mutation is displayed exactly once until the server has it, or it has failed', {
  timeout: 180_000,
}, async () => {
  let states = 0;
  for (let seed = 1; seed <= 300; seed++) {
    try {
      states += await history(seed);
    } catch (error) {
      throw new Error(`history ${seed}`, { cause: error });
    }
  }
  expect(states).toBeGreaterThan(3_000);
});
