/**
 * The server parts of 0.0.1. They separated change tracking from request handling, which the engine does not, so none has
 * an equivalent; each throws an error that names its replacement.
 */

function removed(name: string, instead: string): (...args: unknown[]) => never {
  return () => {
    throw new Error(
      `${name}() was part of Convoy 0.0.1 and was removed. ${instead} ` +
        'See "Coming from 0.0.1" in the documentation: docs/coming-from-0.0.1.md.',
    );
  };
}

const convoy = 'createConvoy({ schema, functions, databaseUrl, createContext }) of @avvos/convoy/node';

/** @deprecated Use `createConvoy`, and in functions `ctx.db`. */
export const createDb = removed(
  'createDb',
  `${convoy} connects by itself. In functions the database is ctx.db; elsewhere call functions: convoy.query(…), ` +
    'convoy.mutation(…).',
);

/** @deprecated Use `createConvoy` and its `nodeHandler`. */
export const createNodeHandler = removed(
  'createNodeHandler',
  `${convoy} has a handler for other servers, convoy.nodeHandler(), and serves by itself: await convoy.listen({ port }).`,
);

/** @deprecated Use `createConvoy` and its `listen`. */
export const createNodeServer = removed(
  'createNodeServer',
  `${convoy} serves by itself: await convoy.listen({ port }).`,
);

/** @deprecated Use `createConvoy`: what it serves is live. */
export const createQuerySubscriptionManager = removed(
  'createQuerySubscriptionManager',
  `${convoy} keeps subscriptions current by itself: await convoy.listen({ port }) also serves /api/subscribe and ` +
    '/api/live.',
);
