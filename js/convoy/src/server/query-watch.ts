/**
 * Sees when a query uses an impure source (the time, random numbers, the network), whose value changes without any write.
 * No change makes such a query run again, so its result is not kept for later calls, and development warns about it.
 *
 * From the load of a program until the last watch of the thread is closed, the globals are replaced by proxies that also
 * check whether a watched query is running. An async context slows down every promise a little, so production watches
 * only the runs whose result may be kept.
 */

import { AsyncLocalStorage } from 'node:async_hooks';

const ALTERNATIVES = {
  'Date.now()': 'use ctx.now(everyMs), which also runs the query again at that interval',
  'new Date()': 'use new Date(ctx.now(everyMs)), which also runs the query again at that interval',
  'Math.random()': 'draw the number in a mutation and store it',
  'crypto.randomUUID()': 'draw the value in a mutation and store it',
  'crypto.getRandomValues()': 'draw the value in a mutation and store it',
  'fetch()': 'fetch in an action and store the response',
} as const;

type Impurity = keyof typeof ALTERNATIVES;

/** What a watched handler has to tell. */
interface Observed {
  /** Set to false once an impure source was used. */
  isPure: boolean;
}

interface RunningQuery {
  readonly watch: QueryWatch;
  readonly name: string;
  readonly observed: Observed;
}

/** The query whose handler runs in this async context. */
const running = new AsyncLocalStorage<RunningQuery | undefined>();

/** The number of open watches, and what they have replaced. Per thread, because the globals are. */
let open = 0;
let replaced: { readonly isComplete: boolean; readonly restore: () => void } | null = null;

/** Watches the queries of one Convoy. */
export class QueryWatch {
  readonly #warn: ((message: string) => void) | null;
  readonly #reported = new Set<string>();
  #state: 'unused' | 'open' | 'closed' = 'unused';

  /** With `warn`, each query and source causes one warning, until other code is loaded. */
  constructor(warn: ((message: string) => void) | null = null) {
    this.#warn = warn;
  }

  /** Replaces the globals; before a module is imported, which may keep them in variables. */
  open(): void {
    if (this.#state !== 'unused') return;
    this.#state = 'open';
    if (open++ === 0) replaced = replaceGlobals();
  }

  /** Runs code of the query `name`, watched. */
  run<T>(name: string, observed: Observed, code: () => T): T {
    this.open();
    // What cannot be replaced, such as a member of a frozen object, is not seen.
    if (replaced?.isComplete !== true) observed.isPure = false;
    return running.run({ watch: this, name, observed }, code);
  }

  /** Called when other code is in place, which may cause the same warnings again. */
  reset(): void {
    this.#reported.clear();
  }

  close(): void {
    const wasOpen = this.#state === 'open';
    this.#state = 'closed';
    if (!wasOpen || --open > 0) return;
    replaced?.restore();
    replaced = null;
  }

  /** Warns that the query `name` has used `impurity`; `location` says where. */
  report(name: string, impurity: Impurity, location: () => string): void {
    const key = `${name} ${impurity}`;
    if (this.#warn === null || this.#state === 'closed' || this.#reported.has(key)) return;
    this.#reported.add(key);
    this.#warn(
      `convoy: the query ${name} calls ${impurity}${location()}, and does not run again when that value changes; ` +
        `${ALTERNATIVES[impurity]}.`,
    );
  }
}

/** `Date.now()` for our own code, without a report. */
export function untrackedNow(): number {
  return running.run(undefined, () => Date.now());
}

// biome-ignore lint/complexity/noBannedTypes: `captureStackTrace` takes any function.
function reportUse(impurity: Impurity, replacement: Function): void {
  const query = running.getStore();
  if (query === undefined) return;
  query.observed.isPure = false;
  query.watch.report(query.name, impurity, () => callerLocation(replacement));
}

/** ` (at file:line:column)` of the code that called `replacement`. */
// biome-ignore lint/complexity/noBannedTypes: see above.
function callerLocation(replacement: Function): string {
  const trace: { stack?: string } = {};
  Error.captureStackTrace(trace, replacement);
  const frame = trace.stack?.split('\n')[1]?.trim();
  return frame === undefined ? '' : ` (${frame})`;
}

function replaceGlobals(): { isComplete: boolean; restore: () => void } {
  const original = globalThis.Date;
  const prototype: { constructor: unknown } = original.prototype;
  const ofDate: ProxyHandler<DateConstructor> = {
    construct(date, args, newTarget) {
      if (args.length === 0) reportUse('new Date()', ofDate.construct as () => object);
      return Reflect.construct(date, args, newTarget);
    },
    // `Date()` returns the current time as text and ignores its arguments.
    apply(date, self, args) {
      reportUse('new Date()', ofDate.apply as () => unknown);
      return Reflect.apply(date, self, args);
    },
  };
  const watchedDate = new Proxy(original, ofDate);
  const undo = [
    replace(original, 'now', reporting('Date.now()')),
    replace(prototype, 'constructor', () => watchedDate),
    replace(globalThis, 'Date', () => watchedDate),
    replace(Math, 'random', reporting('Math.random()')),
    replace(Crypto.prototype, 'randomUUID', reporting('crypto.randomUUID()')),
    replace(Crypto.prototype, 'getRandomValues', reporting('crypto.getRandomValues()')),
    replace(globalThis, 'fetch', reporting('fetch()')),
  ];
  return {
    isComplete: !undo.includes(null),
    restore: () => {
      for (const each of undo) each?.();
    },
  };
}

/** Wraps a function so that it also reports its use. A proxy, so that its other members stay. */
function reporting(impurity: Impurity) {
  return <F extends (...args: never[]) => unknown>(original: F): F => {
    const handler: ProxyHandler<F> = {
      apply(target, self, args) {
        reportUse(impurity, handler.apply as () => unknown);
        return Reflect.apply(target, self, args);
      },
    };
    return new Proxy(original, handler);
  };
}

/**
 * Replaces `object[key]` by `make(object[key])`; the returned function restores it, unless it was replaced again since.
 * `null` if it cannot be replaced.
 */
function replace<T extends object, K extends keyof T>(
  object: T,
  key: K,
  make: (original: T[K]) => unknown,
): (() => void) | null {
  const before = Object.getOwnPropertyDescriptor(object, key);
  if (before === undefined || !('value' in before) || before.configurable !== true) return null;
  const ours = make(before.value as T[K]);
  Object.defineProperty(object, key, { ...before, value: ours });
  return () => {
    if (Object.getOwnPropertyDescriptor(object, key)?.value === ours) Object.defineProperty(object, key, before);
  };
}
