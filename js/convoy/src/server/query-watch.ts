/**
 * Development only: says when a query asks for what changes without any write, which is the time, chance and the
 * network. Such a query would show an old answer for ever, because nothing tells that it should run again.
 *
 * The globals are replaced by ones that do the same and look whether a query is running, from the first watch that
 * opens until the last one closes. Production opens none, and this file then touches nothing.
 */

import { AsyncLocalStorage } from 'node:async_hooks';

const INSTEAD = {
  'Date.now()': 'ctx.now(everyMs) is the time, and runs the query again that often',
  'new Date()': 'new Date(ctx.now(everyMs)) is the time, and runs the query again that often',
  'Math.random()': 'draw in a mutation and store what was drawn',
  'fetch()': 'fetch in an action and store what came',
} as const;

type Impurity = keyof typeof INSTEAD;

interface ObservedPromise {
  readonly watch: QueryWatch;
  readonly name: string;
}

/** The query whose handler is running, in whose async context. */
const running = new AsyncLocalStorage<ObservedPromise | undefined>();

/** Open watches, and how to give the globals back after the last: there is one set of globals, so this is the process's. */
let open = 0;
let giveBack: () => void = () => {};

/** Watches the queries of one Convoy. Warns once for each query and thing it asks for, until other code is loaded. */
export class QueryWatch {
  readonly #warn: (message: string) => void;
  readonly #told = new Set<string>();
  #closed = false;

  constructor(warn: (message: string) => void = console.warn) {
    this.#warn = warn;
    if (open++ === 0) giveBack = replaceGlobals();
  }

  /** Runs the handler of the query `name`, watched. */
  run<T>(name: string, handler: () => T): T {
    return running.run({ watch: this, name }, handler);
  }

  /** Other code is in place, of which everything may be said again. */
  renew(): void {
    this.#told.clear();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (--open === 0) giveBack();
  }

  /** The query `name` has asked for something. */
  told(name: string, impurity: Impurity, place: string): void {
    const key = `${name} ${impurity}`;
    if (this.#closed || this.#told.has(key)) return;
    this.#told.add(key);
    this.#warn(
      `convoy: the query ${name} calls ${impurity}${place}, and will not run again when its answer changes; ` +
        `${INSTEAD[impurity]}.`,
    );
  }
}

/** `Date.now()` for ourselves, which no watch hears. */
export function unwatchedNow(): number {
  return running.run(undefined, () => Date.now());
}

// biome-ignore lint/complexity/noBannedTypes: what `captureStackTrace` takes: whichever function stands in.
function notice(impurity: Impurity, standIn: Function): void {
  const query = running.getStore();
  query?.watch.told(query.name, impurity, placeAbove(standIn));
}

/** ` at file:line:column` of the code that called `standIn`. */
// biome-ignore lint/complexity/noBannedTypes: see above.
function placeAbove(standIn: Function): string {
  const trace: { stack?: string } = {};
  Error.captureStackTrace(trace, standIn);
  const frame = trace.stack?.split('\n')[1]?.trim();
  return frame === undefined ? '' : ` (${frame})`;
}

function replaceGlobals(): () => void {
  const original = globalThis.Date;
  const prototype: { constructor: unknown } = original.prototype;
  const ofDate: ProxyHandler<DateConstructor> = {
    construct(date, args, newTarget) {
      if (args.length === 0) notice('new Date()', ofDate.construct as () => object);
      return Reflect.construct(date, args, newTarget);
    },
    // `Date()` is a text of the time, whatever its arguments.
    apply(date, self, args) {
      notice('new Date()', ofDate.apply as () => unknown);
      return Reflect.apply(date, self, args);
    },
  };
  const watchedDate = new Proxy(original, ofDate);
  const undo = [
    replace(original, 'now', calling('Date.now()')),
    replace(prototype, 'constructor', () => watchedDate),
    replace(globalThis, 'Date', () => watchedDate),
    replace(Math, 'random', calling('Math.random()')),
    replace(globalThis, 'fetch', calling('fetch()')),
  ];
  return () => {
    for (const each of undo) each();
  };
}

/** The same function, which also gives notice. A proxy, so that whatever else it has stays. */
function calling(impurity: Impurity) {
  return <F extends (...args: never[]) => unknown>(original: F): F => {
    const handler: ProxyHandler<F> = {
      apply(target, self, args) {
        notice(impurity, handler.apply as () => unknown);
        return Reflect.apply(target, self, args);
      },
    };
    return new Proxy(original, handler);
  };
}

/** Puts `make(object[key])` in its place; gives the way back, which leaves alone what others have put there since. */
function replace<T extends object, K extends keyof T>(
  object: T,
  key: K,
  make: (original: T[K]) => unknown,
): () => void {
  const before = Object.getOwnPropertyDescriptor(object, key);
  if (before === undefined || !('value' in before) || before.configurable !== true) return () => {};
  const ours = make(before.value as T[K]);
  Object.defineProperty(object, key, { ...before, value: ours });
  return () => {
    if (Object.getOwnPropertyDescriptor(object, key)?.value === ours) Object.defineProperty(object, key, before);
  };
}
