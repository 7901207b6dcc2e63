import { expect, it, vi } from 'vitest';
import { ScriptedEngine } from '../../../testing/scripted-engine.js';
import { type ConvoyEvent, EventDelivery, type OnEvent } from './events.js';

const events: readonly ConvoyEvent[] = [
  { type: 'call', at: 1, function: 'a', callId: 1, durationMs: 2 },
  { type: 'eventsDropped', at: 2, count: 7 },
];

function delivery(handler?: OnEvent) {
  const [engine, log] = [new ScriptedEngine(), vi.fn<(text: string) => void>()];
  const delivered = new EventDelivery(engine, log);
  delivered.handleBy(handler);
  /** Resolves when the batch was handled. */
  const emit = () =>
    new Promise<void>((resolve) => {
      engine.eventsTaken = resolve;
      engine.emit?.(JSON.stringify(events));
    });
  return { engine, log, delivered, emit };
}

it('hands the events of a batch to the handler, and takes the next one afterwards', async () => {
  const given: string[] = [];
  const { emit, engine } = delivery(async (event) => {
    given.push(`begins ${event.type}`);
    await null;
    given.push(`ends ${event.type}`);
  });
  engine.eventsTaken = () => given.push('taken');
  await emit();
  expect(given).toEqual(['begins call', 'ends call', 'begins eventsDropped', 'ends eventsDropped']);
});

it('reads no events without a handler, and takes another one in place of the first', async () => {
  const { engine, delivered, emit } = delivery();
  expect(engine.emit).toBeNull();
  const [first, second] = [vi.fn(), vi.fn()];
  delivered.handleBy(first);
  const { emit: sent } = engine;
  delivered.handleBy(second);
  expect(engine.emit).toBe(sent);
  await emit();
  expect([first.mock.calls, second.mock.calls]).toEqual([[], events.map((event) => [event])]);
  delivered.handleBy(undefined);
  await emit();
  expect(second).toHaveBeenCalledTimes(2);
});

it.each<[string, OnEvent]>([
  [
    'throws',
    () => {
      throw new Error('mine');
    },
  ],
  ['rejects', () => Promise.reject(new Error('mine'))],
  [
    'returns what throws',
    () => ({
      // biome-ignore lint/suspicious/noThenProperty: what a handler may return.
      get then(): never {
        throw new Error('mine');
      },
    }),
  ],
])('goes on with a handler that %s, and logs the first failure', async (_how, handler) => {
  const spy = vi.fn(handler);
  const { emit, log } = delivery(spy);
  await emit();
  await emit();
  expect(spy).toHaveBeenCalledTimes(4);
  expect(log.mock.calls).toEqual([[expect.stringMatching(/^onEvent has failed, .*not logged\. Error: mine/)]]);
});

it('sends nothing more to a handler that never ends', async () => {
  let called = () => {};
  const begun = new Promise<void>((resolve) => (called = resolve));
  const handler = vi.fn(() => {
    called();
    return new Promise(() => {});
  });
  const { engine } = delivery(handler);
  engine.eventsTaken = () => expect.unreachable('the batch was not handled');
  engine.emit?.(JSON.stringify(events));
  await begun;
  expect(handler).toHaveBeenCalledTimes(1);
});

it('refuses a handler that is no function', () => {
  expect(() => delivery('log' as never)).toThrow('onEvent is not a function.');
});
