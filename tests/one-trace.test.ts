/** One trace leads from a click on one page to the frames on the screens of others, through the clients. */
import { randomBytes } from 'node:crypto';
import { createConvoyClient, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { freshDatabaseUrl } from './app.js';
import { Collector, type ReceivedSpan } from './collector.js';

const program = new URL('./programs/events.mjs', import.meta.url);
const list = makeQueryRef<Record<string, never>, string[]>('list');
const add = makeMutationRef<{ text: string }, string>('add');

let collector: Collector;
let convoy: Convoy;

beforeEach(() => {
  collector = new Collector();
});
afterEach(async () => {
  await convoy.close();
  collector.close();
});

/** The names of a span and of those above it, the nearest first; its trace; and the parent of the last one. */
function pathOf(spans: readonly ReceivedSpan[], { name, traceId, parentSpanId }: ReceivedSpan) {
  const names = [name];
  let parent = parentSpanId;
  for (;;) {
    const above = spans.find(({ spanId }) => spanId === parent);
    if (above === undefined) return { names, traceId, parent };
    names.push(above.name);
    parent = above.parentSpanId;
  }
}

it.each([true, false])('a frame is in the trace of the page, if that is trusted: %s', async (trusted) => {
  const endpoint = await collector.listen();
  const otlp = { endpoint, protocol: 'http/protobuf' as const, metrics: false, logs: false };
  convoy = await createConvoy({
    program,
    databaseUrl: await freshDatabaseUrl(),
    createDatabase: true,
    telemetry: { otlp, sampleRatio: 1, trustTraceparent: trusted },
  });
  const { port } = await convoy.listen({ port: 0 });
  const baseUrl = `http://127.0.0.1:${port}`;
  const click = { traceId: randomBytes(16).toString('hex'), spanId: randomBytes(8).toString('hex') };
  const page = createConvoyClient({ baseUrl, traceparent: () => `00-${click.traceId}-${click.spanId}-01` });
  const other = createConvoyClient({ baseUrl });
  let onResult: (notes: readonly string[]) => void = () => {};
  const shown = (count: number) =>
    new Promise<void>((resolve) => {
      onResult = (notes) => notes.length === count && resolve();
    });
  const empty = shown(0);
  const screen = other.watch(list, {}, ({ data }) => data !== null && onResult(data));
  await empty;
  const updated = shown(1);
  await page.mutation(add, { text: 'from the page' });
  await updated;

  const path = await collector.find((spans) => {
    const frames = spans.filter(({ name }) => name === 'frame').map((frame) => pathOf(spans, frame));
    return frames.find(({ names }) => names.includes('POST /mutation/{name}'));
  });
  expect(path.names).toEqual(['frame', 'live list', 'commit', 'mutation add', 'POST /mutation/{name}']);
  expect(path.traceId === click.traceId).toBe(trusted);
  expect(path.parent).toBe(trusted ? click.spanId : '');
  screen();
  page.close();
  other.close();
});
