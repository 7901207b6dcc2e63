// Measures requests per second of all contestants for a workload.
import { CONTESTANTS, CONVOY, PGBENCH } from './contestants.mjs';
import { brokenAnswers, errorsOf, withInvariants } from './invariants.mjs';
import { runLoad } from './load.mjs';

/** The contestants of a workload with their servers and paths, Convoy first. */
export function contestantsOf(work) {
  const theirs = work.theirs.map((each) => {
    const { schema, tables } = CONTESTANTS.find(({ name }) => name === each.server);
    return { ...each, schema, tables };
  });
  const { name, title, schema, tables } = CONVOY;
  return [{ server: name, title, schema, tables, path: work.ours }, ...theirs];
}

/**
 * The calls of a run, for the generator.
 *
 * @param {{ path: string | string[] }} contestant
 * @param {number} seed
 */
export function callsOf({ bodies, mix }, { path }, database, seed) {
  if (mix === undefined) return [{ path, bodies: bodies(database, seed) }];
  return mix.map((part, index) => ({ path: path[index], share: part.share, bodies: part.bodies(database, seed) }));
}

/**
 * Alternates between the contestants, and between the workloads of a group; returns the
 * median run of each.
 *
 * @param {{ servers: Record<string, ServerProcess>, database: Database, pgbench: Pgbench, generator: string }} bench
 * @param {typeof import('./workloads.mjs').WORKLOADS} works
 * @param {{ rounds: number, warmMs: number, measureMs: number, connections: Record<string, number> }} pace
 */
export async function compare(bench, works, pace) {
  const entrants = works.map((work) => ({
    work,
    contestants: contestantsOf(work).map((contestant) => ({ ...contestant, runs: [] })),
    ceilingRuns: [],
  }));
  for (let round = 0; round < pace.rounds; round += 1) {
    for (const { work, contestants, ceilingRuns } of entrants) {
      for (const contestant of contestants) {
        const run = () => measure(bench, contestant, work, pace, round);
        contestant.runs.push(await withInvariants(bench.database, work, contestant, run));
      }
      // Runs of pgbench take whole seconds; a few are enough for an upper bound.
      if (round % 2 === 0) ceilingRuns.push(...(await bench.pgbench.run(work.pgbench, pace)));
    }
  }
  return entrants.map(({ work, contestants, ceilingRuns }) => {
    const [ours, ...theirs] = contestants.map(summary);
    return {
      name: work.name,
      title: work.title,
      ofUniform: work.ofUniform,
      ours,
      theirs,
      ceiling: work.pgbench === undefined ? undefined : ceiling(bench.pgbench, ceilingRuns),
      broken: contestants.flatMap((each) => [
        ...each.runs.flatMap((run) => run.broken),
        ...brokenAnswers(work, each, each.runs),
      ]),
    };
  });
}

/** One run of one contestant. */
export async function measure({ generator, servers, database }, contestant, work, pace, round) {
  const server = servers[contestant.server];
  const { warmMs, measureMs } = pace;
  const plan = {
    address: server.address,
    calls: callsOf(work, contestant, database, round),
    seed: round,
    connections: connectionsOf(work, pace),
    echo: work.echo,
    length: { time: { warmMs, measureMs } },
  };
  const counters = () => Promise.all([server.cpu(), database.cpu()]);
  const read = {};
  const measured = await runLoad(generator, { requests: plan }, async (phase) => {
    read[phase] = await counters();
  });
  const isUnknown = (index) => read.measured[index] === null || measured.requests === 0;
  const perRequest = (index) =>
    isUnknown(index) ? null : (read.measured[index] - read.measuring[index]) / measured.requests;
  return { ...measured, serverCpu: perRequest(0), postgresCpu: perRequest(1) };
}

export function connectionsOf({ concurrency = 'usual' }, { connections }) {
  return connections[concurrency];
}

/** The median run, and the errors of all runs. */
function summary({ runs, ...contestant }) {
  return { ...contestant, ...medianRun(runs), errors: errorsOf(runs), runs };
}

export function medianRun(runs) {
  return runs.toSorted((a, b) => a.perSecond - b.perSecond)[Math.floor(runs.length / 2)];
}

function ceiling({ missing }, runs) {
  return runs.length === 0 ? { title: PGBENCH.title, missing } : { title: PGBENCH.title, ...medianRun(runs), runs };
}
