// Measures calls of a query with a live subscriber, which the result cache serves, beside
// Fastify + pg, which queries Postgres for the same bytes.
import assert from 'node:assert/strict';
import { measure, medianRun } from '../requests.mjs';
import { atLeast } from '../targets.mjs';
import { CONVOY } from './contestants.mjs';
import { OpenStreams } from './open-streams.mjs';
import { CACHED, TOPICS_SCHEMA } from './posts.mjs';

const CONTEXT = { ...CONVOY, title: 'Convoy with a createContext', server: 'convoy-context' };
const FASTIFY = { title: 'Fastify + pg', server: 'fastify', schema: TOPICS_SCHEMA };

const BODY = JSON.stringify({ channel: CACHED });
const PATH = '/api/query/posts.newest';

/** Sends the consistency token of the last response, as clients do. */
const work = { bodies: () => ({ inTurn: [BODY] }), echo: 'convoy-position' };

export const cached = {
  name: 'live-cached',
  title: 'calls of a query in the result cache',

  async measure(bench, { rounds, ...pace }) {
    const entrants = [];
    for (const [contestant, path] of [
      [CONVOY, PATH],
      [CONTEXT, PATH],
      [FASTIFY, '/newest-posts'],
    ]) {
      entrants.push({ contestant, path, server: await bench.startServer(contestant), runs: [] });
    }
    const servers = Object.fromEntries(entrants.map(({ contestant, server }) => [contestant.server, server]));
    for (const { server } of entrants.slice(0, 2)) {
      await bench.use(OpenStreams.open(bench.generator, server, [CONVOY.stream(CACHED)]));
    }
    await checkSame(entrants);
    for (let round = 0; round < rounds; round += 1) {
      for (const { contestant, path, server, runs } of entrants) {
        const before = await server.stats();
        const run = await measure({ ...bench, servers }, { server: contestant.server, path }, work, pace, round);
        const after = await server.stats();
        runs.push({ ...run, handlerRuns: after.handlerRuns - before.handlerRuns });
      }
    }
    const [ours, withContext, theirs] = entrants.map(({ contestant, runs }) => ({
      title: contestant.title,
      ...medianRun(runs),
      handlerRuns: runs.reduce((sum, run) => sum + run.handlerRuns, 0),
      answered: runs.reduce((sum, run) => sum + run.answered, 0),
      errors: runs.reduce((sum, run) => sum + Object.values(run.errors).reduce((all, each) => all + each, 0), 0),
      runs,
    }));
    const contestants = [ours, withContext, theirs];
    return {
      watched: [],
      cached: contestants,
      verdicts: [
        atLeast('a cached query: calls, relative to Fastify + pg', ours.perSecond / theirs.perSecond, 10, '×'),
        atLeast('the same with a createContext', withContext.perSecond / theirs.perSecond, 5, '×'),
      ],
      broken: contestants
        .filter(({ errors }) => errors > 0)
        .map(({ title, errors, answered }) => `a cached query, ${title}: ${errors} errors and ${answered} successes`),
    };
  },
};

/** Checks that all contestants return the same bytes, so that they can be compared. */
async function checkSame(entrants) {
  const texts = [];
  for (const { server, path } of entrants) {
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(`http://${server.address}${path}`, { method: 'POST', headers, body: BODY });
    texts.push(await response.text());
  }
  for (const text of texts) assert.equal(text, texts[0], 'all return the same bytes');
}
