/**
 * Which function the code at hand belongs to, also in what a function has left behind: timers, promises nobody awaits.
 * Followed where it is to be known, since following every promise costs a little.
 */

import { AsyncLocalStorage } from 'node:async_hooks';

let running: AsyncLocalStorage<string> | null = null;

/** Runs `work` as the function `name`. */
export function runAs<T>(name: string, work: () => T): T {
  running ??= new AsyncLocalStorage();
  return running.run(name, work);
}

/** The function that the code at hand belongs to, where that was followed. */
export function runningFunction(): string | undefined {
  return running?.getStore();
}
