/** A program on a worker that makes spans with OpenTelemetry's API. Each worker has a provider of its own. */
import { isMainThread, threadId } from 'node:worker_threads';
import { createFunctionHelpers, defineSchema, defineTable } from '@avvos/convoy';
import { makeQueryRef } from '@avvos/convoy/client';
import { context, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { z } from 'zod';

context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
const processor = new SimpleSpanProcessor(new InMemorySpanExporter());
trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [processor] }));

export const schema = defineSchema({ notes: defineTable({ text: z.string() }) });
const { query, mutation, action } = createFunctionHelpers();

const tracer = trace.getTracer('program');
const activeTrace = () => trace.getActiveSpan()?.spanContext().traceId;
const list = makeQueryRef('list');

export const createContext = (_request, base) => ({ ...base, madeIn: activeTrace() });

export const functions = {
  list: query({
    handler: (ctx) =>
      tracer.startActiveSpan('work', async (span) => {
        await ctx.db.query('notes').collect();
        // After an await the span is still active.
        const found = activeTrace();
        span.end();
        const thread = { isMainThread, threadId };
        return { trace: found, parent: span.parentSpanContext?.spanId, madeIn: ctx.madeIn, thread };
      }),
  }),
  add: mutation({
    input: { text: z.string() },
    handler: async (ctx, note) => {
      await ctx.db.insert('notes', note);
      return { trace: activeTrace(), thread: { isMainThread, threadId } };
    },
  }),
  act: action({
    handler: async (ctx) => ({ own: activeTrace(), called: (await ctx.runQuery(list)).trace }),
  }),
};
