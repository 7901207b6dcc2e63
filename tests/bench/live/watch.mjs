// Runs subscribers and one writer at a constant rate: measures the delays in the generator
// and the resources of the server.
import { isDeepStrictEqual } from 'node:util';
import { runLoad } from '../load.mjs';

let runs = 0;

/** A marker that only the writes of this run contain. */
export const freshMarker = () => `run ${++runs}, `;

/**
 * @param {{ database: Database, generator: string }} bench
 * @param {typeof import('./contestants.mjs').CONVOY} contestant
 * @param {{ server: ServerProcess, writeTo?: ServerProcess }} where
 * @param {{ channels: string[], subscribersEach: number, writes: number, writesPerSecond: number, leaveOut: number }}
 * pace
 */
export async function watch({ database, generator }, contestant, { server, writeTo = server }, { channels, ...pace }) {
  const plan = {
    address: server.address,
    streams: channels.map((channel) => ({ ...contestant.stream(channel), write: contestant.write(channel) })),
    marker: freshMarker(),
    writeAddress: writeTo.address,
    writePath: contestant.writePath,
    ...pace,
  };
  const read = {};
  const measured = await runLoad(generator, { watch: plan }, async (phase) => {
    read[phase] = { server: await server.cpu(), postgres: await database.cpu(), stats: await server.stats() };
  });
  const after = await server.stats();
  const perWrite = (name) => {
    const [from, to] = [read.measuring[name], read.measured[name]];
    return to === null ? null : (to - from) / measured.measured;
  };
  // If the writes go to this server, each of them is one run of the mutation.
  const mutationRuns = server === writeTo ? measured.writes : 0;
  const queryRuns =
    after.handlerRuns === undefined ? null : after.handlerRuns - read.subscribed.stats.handlerRuns - mutationRuns;
  return {
    contestant: contestant.title,
    subscribersEach: pace.subscribersEach,
    writesPerSecond: pace.writesPerSecond,
    channels: channels.length,
    ...measured,
    queryRuns,
    queryRunsPerWrite: queryRuns === null ? null : queryRuns / measured.writes,
    serverCpu: perWrite('server'),
    postgresCpu: perWrite('postgres'),
    generatorCpu: measured.ownCpu === null ? null : measured.ownCpu / measured.measured,
  };
}

/** Checks the number of query runs: each write affects one query, and writes during a run may share the next run. */
export function brokenRuns(where, { contestant, writes, queryRuns }) {
  if (queryRuns <= writes) return [];
  return [`${where}, ${contestant}: ${writes} writes re-ran queries ${queryRuns} times; each affects one query`];
}

/**
 * Checks the invariants of frames: every write reaches the subscribers that it affects and
 * no others, and the last frame equals the current result.
 *
 * @param {string} where
 * @param {Awaited<ReturnType<typeof watch>>} run
 * @param {{ server: ServerProcess, channel: string }} first the subscription of the first subscriber
 */
export async function brokenFrames(where, run, { server, channel }) {
  const broken = [];
  if (run.missing !== 0) broken.push(`${run.missing} of ${run.expected} frames are missing`);
  if (run.wasted !== 0) broken.push(`${run.wasted} frames had no change`);
  if (run.strange !== 0) broken.push(`${run.strange} frames had a write that does not affect their subscriber`);
  const current = await resultOf(server, 'posts.newest', { channel });
  if (!isDeepStrictEqual(dataOf(run.lastEvent), current)) {
    broken.push('the last frame of the first subscriber differs from the result of a query');
  }
  return broken.map((sentence) => `${where}, ${run.contestant}: ${sentence}`);
}

/** The current result of a query. */
export async function resultOf(server, name, args) {
  const response = await fetch(`http://${server.address}/api/query/${name}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(args),
  });
  const body = await response.json();
  if (!body.ok) throw new Error(`${name}: ${JSON.stringify(body)}`);
  return body.data;
}

/** The result in an event of `/api/subscribe`; `undefined` if there is none. */
export function dataOf(event) {
  const line = event.split('\n').find((text) => text.startsWith('data:'));
  return line && JSON.parse(line.slice('data:'.length)).data;
}
