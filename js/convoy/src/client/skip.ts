/** Queries that a component skips. */
import type { LiveQuery } from './live-query.js';
import { PENDING_UNCONNECTED } from './snapshot.js';

/** Takes the place of arguments, and means "do not run the query yet"; it has a type of its own. */
export const skipToken: unique symbol = Symbol.for('convoy.skip');

/** `skipToken`, or its short form. */
export type SkipToken = typeof skipToken;

/** `enabled` skips as well, where it is false or what counts as false in JavaScript, other than `undefined`. */
export function isSkipped(args: unknown, enabled: unknown = true): args is SkipToken | 'skip' {
  return !enabled || args === skipToken || args === 'skip';
}

/** The query of a component that skips it. */
export const SKIPPED: LiveQuery<never> = {
  getSnapshot: () => PENDING_UNCONNECTED,
  subscribe: () => () => {},
  refetch: () => Promise.resolve(null),
  isBehind: () => false,
};
