/**
 * Tracks which function the current code belongs to, also in timers and unawaited promises that outlive the call. Only
 * in development, because an async context slows down every promise a little.
 */

import { AsyncLocalStorage } from 'node:async_hooks';

let running: AsyncLocalStorage<string> | null = null;

/** Runs `work` as the function `name`. */
export function runAs<T>(name: string, work: () => T): T {
  running ??= new AsyncLocalStorage();
  return running.run(name, work);
}

/** The function that the current code belongs to, if it is tracked. */
export function runningFunction(): string | undefined {
  return running?.getStore();
}
