/** Convoy in the server of Next.js. Pages preload queries with `preloadQuery(api.…, …, { convoy })`. */
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import type { Api, Internal } from './_generated/api';
import * as messages from './functions/messages';
import schema from './schema';

/** Every file in `functions/`. The type check reports one that is missing here. */
const functions = { messages } satisfies Record<keyof Api | keyof Internal, object>;

const { DATABASE_URL: databaseUrl = '', NODE_ENV } = process.env;

/**
 * Where the opened Convoy is kept. Next.js evaluates this module once for pages and once for routes, which share one Convoy;
 * in development again after each change, and `createConvoy` then loads the new code into the Convoy that runs.
 */
const kept = NODE_ENV === 'production' ? (globalThis as { convoy?: Promise<Convoy> }) : {};

/** Opened by the first request, because `next build` imports this module, too. */
export function convoy(): Promise<Convoy> {
  kept.convoy ??= open().catch((error: unknown) => {
    delete kept.convoy; // The next request tries again.
    throw error;
  });
  return kept.convoy;
}

async function open(): Promise<Convoy> {
  const convoy = await createConvoy({ schema, functions, databaseUrl, dev: NODE_ENV === 'development' });
  // `next start` waits for open requests before it ends. Closing Convoy ends those of live queries.
  if (NODE_ENV === 'production') {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => convoy.close());
  }
  return convoy;
}
