// Counts statements and round trips per call, with a proxy in front of Postgres.
import { runLoad } from './load.mjs';
import { callsOf, connectionsOf, contestantsOf } from './requests.mjs';

/**
 * Makes a fixed number of calls to each contestant: sequentially, and with the concurrency
 * of the measurements, where some calls share statements and others are retried. The proxy
 * adds delay, so the concurrent counts only approximate those of a measurement.
 *
 * @param {{ servers: Record<string, ServerProcess>, proxies: Record<string, CountingProxy>, database: Database,
 * generator: string }} bench
 * @param {typeof import('./workloads.mjs').WORKLOADS[number]} work
 * @param {{ alone: number, together: number, connections: object }} pace
 * @returns per contestant, in the order of `contestantsOf`
 */
export async function probe(bench, work, pace) {
  const connections = connectionsOf(work, pace);
  const together = Math.max(work.probes ?? pace.together, connections);
  const counted = [];
  for (const contestant of contestantsOf(work)) {
    const count = (calls, concurrency) => countCalls(bench, work, contestant, { calls, connections: concurrency });
    // Opens connections and prepares statements.
    await count(connections * 2, connections);
    counted.push({ together: await count(together, connections), alone: await count(pace.alone, 1) });
  }
  return counted;
}

async function countCalls({ generator, servers, proxies, database }, work, contestant, { calls, connections }) {
  const { server } = contestant;
  const plan = {
    address: servers[server].address,
    calls: callsOf(work, contestant, database, calls),
    seed: calls,
    connections,
    length: { calls },
  };
  const before = proxies[server].counts();
  await runLoad(generator, { requests: plan }, async () => undefined);
  const after = proxies[server].counts();
  return {
    statements: (after.statements - before.statements) / calls,
    roundTrips: (after.roundTrips - before.roundTrips) / calls,
  };
}
