import { ConvoyError, type ConvoyRequest } from '@avvos/convoy';
import { visitorIn } from '../src/visitor';
import type { ServerContext } from './_generated/server';

/** The caller of a page, of a call and of a live query is the visitor that the cookie names. */
export function createContext({ headers }: ConvoyRequest, base: ServerContext) {
  const visitor = visitorIn(headers.cookie);
  if (visitor === null) throw new ConvoyError('UNAUTHORIZED', 'Open the page first, which sets a cookie.');
  return { ...base, visitor };
}
