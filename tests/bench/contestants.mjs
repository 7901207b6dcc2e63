// Who is compared, and whose tables are whose.

/**
 * `schema` holds the tables: Convoy's are where it made them; the others have
 * tables of their own with the same rows, indexes on the same fields, and without
 * Convoy's triggers, which are no part of what they would pay for. `tables`: copies
 * of Convoy's (`jsonb`), or a column per field (`relational`), as one would make
 * them without Convoy.
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
];

/** The ceiling: no server, and so no HTTP, no JSON and no checking. */
export const PGBENCH = { title: 'pgbench, the same SQL', schema: 'pgbench', tables: 'jsonb' };

export const [CONVOY, ...OTHERS] = CONTESTANTS;
