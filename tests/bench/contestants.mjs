// The contestants of the benchmark, and their tables.

/**
 * `schema` contains the tables: Convoy's are in `public`; the others have separate
 * tables with the same rows, indexes on the same fields, and without Convoy's triggers,
 * which would be an unfair cost for them. `tables`: copies of Convoy's tables (`jsonb`),
 * or a column per field (`relational`), as is usual without Convoy.
 */
export const CONTESTANTS = [
  { name: 'convoy', title: 'Convoy', schema: 'public', tables: 'jsonb' },
  { name: 'fastify', title: 'Fastify + pg', schema: 'fastify', tables: 'jsonb' },
  { name: 'postgresjs', title: 'node:http + postgres.js', schema: 'postgresjs', tables: 'jsonb' },
  {
    name: 'fastify-relational',
    title: 'Fastify + pg, relational',
    schema: 'fastify_relational',
    tables: 'relational',
  },
  {
    name: 'postgresjs-relational',
    title: 'node:http + postgres.js, relational',
    schema: 'postgresjs_relational',
    tables: 'relational',
  },
  // Only for the workload that compares it with Convoy's own listener.
  { name: 'convoy-node-http', title: 'Convoy in node:http', schema: 'public', tables: 'jsonb' },
];

/** The upper bound: no server, and so no HTTP, no JSON and no validation. */
export const PGBENCH = { title: 'pgbench, the same SQL', schema: 'pgbench', tables: 'jsonb' };

export const [CONVOY] = CONTESTANTS;

/** The servers without Convoy. */
export const OTHERS = CONTESTANTS.filter(({ schema }) => schema !== CONVOY.schema);
