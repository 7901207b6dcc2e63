/**
 * What 0.0.1 put a server together from. Its parts took the tracking of changes and the answering of requests apart in a
 * way that the engine does not know, so none has an equal; each says what does its work now.
 */

function gone(name: string, instead: string): (...args: unknown[]) => never {
  return () => {
    throw new Error(
      `${name}() was part of Convoy 0.0.1 and is gone. ${instead} ` +
        'See "Coming from 0.0.1" in the documentation: docs/coming-from-0.0.1.md.',
    );
  };
}

const convoy = 'createConvoy({ schema, functions, databaseUrl, createContext }) of @avvos/convoy/node';

/** @deprecated Use `createConvoy`, and in functions `ctx.db`. */
export const createDb = gone(
  'createDb',
  `${convoy} connects by itself. In functions the database is ctx.db; elsewhere call functions: convoy.query(…), ` +
    'convoy.mutation(…).',
);

/** @deprecated Use `createConvoy` and its `listen`. */
export const createNodeHandler = gone(
  'createNodeHandler',
  `${convoy} serves by itself: await convoy.listen({ port }).`,
);

/** @deprecated Use `createConvoy` and its `listen`. */
export const createNodeServer = gone('createNodeServer', `${convoy} serves by itself: await convoy.listen({ port }).`);

/** @deprecated Use `createConvoy`: what it serves is live. */
export const createQuerySubscriptionManager = gone(
  'createQuerySubscriptionManager',
  `${convoy} keeps subscriptions current by itself: await convoy.listen({ port }) also serves /api/subscribe and ` +
    '/api/live.',
);
