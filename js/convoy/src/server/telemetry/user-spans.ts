/** Places the spans that user code makes with OpenTelemetry's API below the span of its run. */

import { createRequire } from 'node:module';
import type * as OpenTelemetry from '@opentelemetry/api';

type Api = Pick<typeof OpenTelemetry, 'context' | 'trace'>;

/** `null`: the program does not have it. */
let api: Api | null | undefined;

/** The API, if the program has it. Its copies in a process share one state, so this one is as good as the program's. */
function openTelemetry(): Api | null {
  if (api !== undefined) return api;
  try {
    api = createRequire(import.meta.url)('@opentelemetry/api') as Api;
  } catch (error) {
    api = null;
    if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') {
      console.error(
        'convoy: @opentelemetry/api cannot be loaded, so spans of the program are not part of traces:',
        error,
      );
    }
  }
  return api;
}

/** Where the copies of the API keep their state. */
const SHARED = Symbol.for('opentelemetry.js.api.1');

/** Whether the program has registered a manager of contexts. */
function isSetUp(): boolean {
  return (globalThis as { [SHARED]?: { context?: unknown } })[SHARED]?.context !== undefined;
}

/** A run; its span is made text only for programs that have spans of their own. */
interface Run {
  readonly traceparent: string | null;
}

/** Calls `callback` with the span of `run`, if it has one, as the active one. */
export function inSpan<Args extends unknown[], Result>(
  run: Run,
  callback: (...args: Args) => Result,
  ...args: Args
): Result {
  // Without a manager of contexts, none is active in any case.
  const otel = isSetUp() ? openTelemetry() : null;
  const traceparent = otel === null ? null : run.traceparent;
  if (otel === null || traceparent === null) return callback(...args);
  const [, traceId = '', spanId = '', flags = ''] = traceparent.split('-');
  const span = { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true };
  return otel.context.with(otel.trace.setSpanContext(otel.context.active(), span), () => callback(...args));
}

/** The active span of the program, as a `traceparent`; `null` if it has none. */
export function activeSpan(): string | null {
  if (!isSetUp()) return null;
  const otel = openTelemetry();
  const span = otel?.trace.getSpanContext(otel.context.active());
  if (span === undefined) return null;
  return `00-${span.traceId}-${span.spanId}-${(span.traceFlags & 1) === 1 ? '01' : '00'}`;
}
