/** Spans that programs make with OpenTelemetry's API are part of the traces of the engine. */
import { type BaseContext, createFunctionHelpers, type DataModelOf, defineSchema, defineTable } from '@avvos/convoy';
import { makeQueryRef } from '@avvos/convoy/client';
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import { context, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { freshDatabaseUrl } from './app.js';
import { Collector } from './collector.js';

const schema = defineSchema({ notes: defineTable({ text: z.string() }) });
type Context = BaseContext<DataModelOf<typeof schema>> & { readonly madeIn: string | undefined };
const { query, mutation, action } = createFunctionHelpers<Context>();

const activeTrace = (): string | undefined => trace.getActiveSpan()?.spanContext().traceId;
const tracer = trace.getTracer('program');
const listRef = makeQueryRef<Record<string, never>, { trace: string }>('list');

const functions = {
  list: query({
    handler: async (ctx) =>
      tracer.startActiveSpan('work', async (span) => {
        await ctx.db.query('notes').collect();
        // After an await the span is still active.
        const found = activeTrace();
        span.end();
        return { trace: found, madeIn: ctx.madeIn };
      }),
  }),
  add: mutation({
    input: { text: z.string() },
    handler: async (ctx, note) => {
      await ctx.db.insert('notes', note);
      return activeTrace();
    },
  }),
  say: query({
    handler: (ctx) => {
      ctx.log.info('said by a query', { n: 1 });
      return activeTrace();
    },
  }),
  act: action({
    handler: async (ctx) => ({ own: activeTrace(), called: await ctx.runQuery(listRef) }),
  }),
};

const finished = new InMemorySpanExporter();
let convoy: Convoy | undefined;
let collector: Collector;

beforeAll(() => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(finished)] }));
});
afterAll(() => {
  context.disable();
  trace.disable();
});
afterEach(async () => {
  await convoy?.close();
  collector.close();
  finished.reset();
});

async function options(sampleRatio: number) {
  const endpoint = await collector.listen();
  const telemetry = { otlp: { endpoint, protocol: 'http/protobuf' as const, metrics: false }, sampleRatio };
  return { databaseUrl: await freshDatabaseUrl(), createDatabase: true, telemetry };
}
type Options = Awaited<ReturnType<typeof options>>;

const onThisThread = (of: Options): Promise<Convoy> =>
  createConvoy({ ...of, schema, functions, createContext: (_, base) => ({ ...base, madeIn: activeTrace() }) });
const onWorkers = (of: Options): Promise<Convoy> =>
  createConvoy({ ...of, program: new URL('./programs/spans.mjs', import.meta.url), workers: 2 });

async function start(open = onThisThread, sampleRatio = 1): Promise<string> {
  collector = new Collector();
  convoy = await open(await options(sampleRatio));
  const { port } = await convoy.listen({ port: 0 });
  return `http://127.0.0.1:${port}`;
}

async function call(url: string, path: string, args: object = {}): Promise<{ data: never; traceId: string }> {
  const body = JSON.stringify(args);
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${url}/api/${path}`, { method: 'POST', headers, body });
  const { data } = (await response.json()) as { data: never };
  return { data, traceId: response.headers.get('traceresponse')?.split('-')[1] ?? '' };
}

it('a span of a handler is below that of its run, which the collector receives', async () => {
  const url = await start();
  const { data, traceId } = await call(url, 'query/list');
  expect(data).toEqual({ trace: traceId, madeIn: traceId });
  const [span] = finished.getFinishedSpans();
  expect(span?.spanContext().traceId).toBe(traceId);
  const run = span?.parentSpanContext?.spanId ?? '';
  expect(run).toMatch(/^[0-9a-f]{16}$/);
  await collector.has(run, 'hex');
});

it('calls at the same time, and functions that others call, each find their own', async () => {
  const url = await start();
  const calls = Array.from({ length: 20 }, (_, n) => call(url, 'mutation/add', { text: `${n}` }));
  for (const { data, traceId } of await Promise.all(calls)) expect(data).toBe(traceId);
  const { data, traceId } = await call(url, 'action/act');
  expect(data).toMatchObject({ own: traceId, called: { trace: traceId } });
});

it('lines of ctx.log go to the collector', async () => {
  const url = await start();
  await call(url, 'query/say');
  await collector.has('said by a query', 'utf8');
});

it('a call of the program around the engine belongs to its span', async () => {
  await start(onThisThread, 0);
  await tracer.startActiveSpan('request', async (span) => {
    const result = await (convoy as Convoy).query(listRef, {});
    expect(result.trace).toBe(span.spanContext().traceId);
    span.end();
  });
});

/** What a function on a worker tells of the span that is active there. */
interface OnWorker {
  readonly trace: string;
  readonly parent: string;
  readonly madeIn: string;
  readonly thread: { readonly isMainThread: boolean; readonly threadId: number };
}

it('a span of a handler on a worker is below that of its run, which the collector receives', async () => {
  const url = await start(onWorkers);
  const { data, traceId } = await call(url, 'query/list');
  const { trace: found, parent, madeIn, thread }: OnWorker = data;
  expect({ found, madeIn, isMainThread: thread.isMainThread }).toEqual({
    found: traceId,
    madeIn: traceId,
    isMainThread: false,
  });
  const run = await collector.find((spans) => spans.find(({ spanId }) => spanId === parent));
  expect(run).toMatchObject({ name: 'run list', traceId });
});

it('calls at the same time on several workers, and functions that others call, each find their own', async () => {
  const url = await start(onWorkers);
  const threads = new Set<number>();
  for (let round = 0; threads.size < 2; round++) {
    const calls = Array.from({ length: 20 }, (_, n) => call(url, 'mutation/add', { text: `${round} ${n}` }));
    for (const { data, traceId } of await Promise.all(calls)) {
      const { trace: found, thread }: OnWorker = data;
      expect(found).toBe(traceId);
      threads.add(thread.threadId);
    }
  }
  const { data, traceId } = await call(url, 'action/act');
  expect(data).toEqual({ own: traceId, called: traceId });
});
