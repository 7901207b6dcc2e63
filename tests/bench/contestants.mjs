// Who is compared, and whose tables are whose.

/**
 * `schema` holds the tables: Convoy's are where it made them; the others have
 * copies of their own, with the same columns and rows, indexes on the same fields, and without
 * Convoy's triggers, which are no part of what they would pay for.
 */
export const CONTESTANTS = [
  { name: 'convoy', title: 'Convoy', schema: 'public' },
  { name: 'fastify', title: 'Fastify + pg', schema: 'fastify' },
  { name: 'postgresjs', title: 'node:http + postgres.js', schema: 'postgresjs' },
];

/** The ceiling: no server, and so no HTTP, no JSON and no checking. */
export const PGBENCH = { title: 'pgbench, the same SQL', schema: 'pgbench' };

export const [CONVOY, ...OTHERS] = CONTESTANTS;
