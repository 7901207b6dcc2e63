// Statements and round trips per call, counted on the wire.
import { runLoad } from './load.mjs';
import { connectionsOf, contestantsOf } from './requests.mjs';

/**
 * A fixed number of calls of each contestant: one after another, and as many at
 * once as are measured, where some share statements and others try again. The
 * wire costs time, so the second is near what a measurement does, not the same.
 *
 * @param {{ servers: Record<string, ServerProcess>, wires: Record<string, Wire>, database: Database, generator: string }} bench
 * @param {typeof import('./workloads.mjs').WORKLOADS[number]} work
 * @param {{ alone: number, together: number, connections: object }} pace
 * @returns per contestant, in the order of `contestantsOf`
 */
export async function probe(bench, work, pace) {
  const connections = connectionsOf(work, pace);
  const together = Math.max(work.probes ?? pace.together, connections);
  const counted = [];
  for (const contestant of contestantsOf(work)) {
    const count = (calls, at) => countCalls(bench, work, contestant, { calls, connections: at });
    // Connects and prepares.
    await count(connections * 2, connections);
    counted.push({ together: await count(together, connections), alone: await count(pace.alone, 1) });
  }
  return counted;
}

async function countCalls({ generator, servers, wires, database }, work, { server, path }, { calls, connections }) {
  const plan = {
    address: servers[server].address,
    path,
    bodies: work.bodies(database, calls),
    connections,
    length: { calls },
  };
  const before = wires[server].counts();
  await runLoad(generator, { requests: plan }, async () => undefined);
  const after = wires[server].counts();
  return {
    statements: (after.statements - before.statements) / calls,
    roundTrips: (after.roundTrips - before.roundTrips) / calls,
  };
}
