// Subscribers, and one writer at a steady pace: what the generator saw, and what
// the server spent on it.
import { isDeepStrictEqual } from 'node:util';
import { runLoad } from '../load.mjs';

let runs = 0;

/** In no text but what this run writes. */
export const freshMarker = () => `run ${++runs}, `;

/**
 * @param {{ database: Database, generator: string }} bench
 * @param {typeof import('./contestants.mjs').CONVOY} who
 * @param {{ server: ServerProcess, writeTo?: ServerProcess }} where
 * @param {{ channels: string[], subscribersEach: number, writes: number, writesPerSecond: number, leaveOut: number }} pace
 */
export async function watch({ database, generator }, who, { server, writeTo = server }, { channels, ...pace }) {
  const plan = {
    address: server.address,
    streams: channels.map((channel) => ({ ...who.stream(channel), write: who.write(channel) })),
    marker: freshMarker(),
    writeAddress: writeTo.address,
    writePath: who.writePath,
    ...pace,
  };
  const read = {};
  const measured = await runLoad(generator, { watch: plan }, async (word) => {
    read[word] = { server: await server.cpu(), postgres: await database.cpu(), stats: await server.stats() };
  });
  const after = await server.stats();
  const each = (name) => {
    const [from, to] = [read.measuring[name], read.measured[name]];
    return to === null ? null : (to - from) / measured.measured;
  };
  // Where writes come by this server, each is one run of its mutation.
  const ofWrites = server === writeTo ? measured.writes : 0;
  const queryRuns =
    after.handlerRuns === undefined ? null : after.handlerRuns - read.subscribed.stats.handlerRuns - ofWrites;
  return {
    who: who.title,
    subscribersEach: pace.subscribersEach,
    writesPerSecond: pace.writesPerSecond,
    channels: channels.length,
    ...measured,
    queryRuns,
    queryRunsPerWrite: queryRuns === null ? null : queryRuns / measured.writes,
    serverCpu: each('server'),
    postgresCpu: each('postgres'),
    generatorCpu: measured.ownCpu === null ? null : measured.ownCpu / measured.measured,
  };
}

/** Each write concerns one query; those that come while it runs may share its next run. */
export function brokenRuns(where, { who, writes, queryRuns }) {
  if (queryRuns <= writes) return [];
  return [`${where}, ${who}: ${writes} writes re-ran queries ${queryRuns} times; each concerns one query`];
}

/**
 * What must hold whatever the machine: whom a write concerns sees it, nobody else
 * hears of it, and what they see is what is there.
 *
 * @param {string} where
 * @param {Awaited<ReturnType<typeof watch>>} run
 * @param {{ server: ServerProcess, channel: string }} first what the first subscriber watches
 */
export async function brokenFrames(where, run, { server, channel }) {
  const broken = [];
  if (run.missing !== 0) broken.push(`${run.missing} of ${run.expected} frames never came`);
  if (run.wasted !== 0) broken.push(`${run.wasted} frames showed nothing new`);
  if (run.strange !== 0) broken.push(`${run.strange} times a write was shown to those it does not concern`);
  const there = await answerOf(server, 'posts.newest', { channel });
  if (!isDeepStrictEqual(dataOf(run.lastEvent), there)) {
    broken.push('what the first subscriber was sent last is not what a query answers');
  }
  return broken.map((sentence) => `${where}, ${run.who}: ${sentence}`);
}

/** What Convoy answers to a query now. */
export async function answerOf(server, name, args) {
  const response = await fetch(`http://${server.address}/api/query/${name}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(args),
  });
  const answer = await response.json();
  if (!answer.ok) throw new Error(`${name}: ${JSON.stringify(answer)}`);
  return answer.data;
}

/** The result in an event of `/api/subscribe`; `undefined` where there was none. */
export function dataOf(event) {
  const line = event.split('\n').find((text) => text.startsWith('data:'));
  return line && JSON.parse(line.slice('data:'.length)).data;
}
