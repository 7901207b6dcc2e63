// What the results depend on besides the code, as data and as text.
import { availableParallelism, cpus } from 'node:os';
import { POOL } from './servers/inputs.mjs';
import { whole } from './table.mjs';

/**
 * @param {Database} database
 * @param {{ engine: string, rows: number, requests: object }} how the build of the engine, the size of the tables,
 *   and the pace of requests
 */
export async function environmentOf(database, { engine, rows, requests }) {
  return {
    at: new Date().toISOString(),
    cpu: cpus()[0]?.model ?? 'unknown processor',
    cores: availableParallelism(),
    node: process.versions.node,
    postgres: await database.describe(),
    engine,
    rows,
    pool: POOL,
    ...requests,
  };
}

export function describeEnvironment(environment) {
  const { cpu, cores, node, postgres, engine, rows, pool, connections, rounds, measureMs } = environment;
  const runs = rounds === 1 ? 'one run each' : `medians of ${rounds} alternating runs`;
  const transfers = connections.transfers === connections.usual ? '' : `, ${connections.transfers} for transfers`;
  const warning = engine === 'release' ? [] : ['This engine is a development build: its speeds have no meaning.'];
  return [
    ...warning,
    `${cores} × ${cpu}, shared by the servers, Postgres and the load generator. Node ${node}.`,
    `Postgres ${postgres.server_version}: fsync ${postgres.fsync} (${postgres.wal_sync_method}), synchronous_commit ` +
      `${postgres.synchronous_commit}, the same for all.`,
    `${whole(rows)} documents in each table. Each contestant has separate tables with the same rows, and indexes on ` +
      'the same fields; only Convoy’s have the triggers that log writes of other programs. Relational tables have a ' +
      'column per field, the others the same columns as Convoy’s.',
    `${connections.usual} connections${transfers}, ${runs} of ${measureMs / 1000} s after a warm-up. Every server has ` +
      `${pool} connections to Postgres for queries or for mutations.`,
    'Server CPU is that of the server process, all threads, user and system; that of Postgres’ processes is in a ' +
      'separate column, and the load generator’s in neither.',
  ].join('\n');
}
