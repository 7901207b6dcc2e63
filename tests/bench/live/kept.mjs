// Calls of a query that some stream keeps current: answered from memory, and beside
// Fastify + pg, which asks Postgres for the same bytes.
import assert from 'node:assert/strict';
import { measure, medianRun } from '../requests.mjs';
import { atLeast } from '../targets.mjs';
import { CONVOY } from './contestants.mjs';
import { Held } from './held.mjs';
import { KEPT, TOPICS_SCHEMA } from './posts.mjs';

const CONTEXT = { ...CONVOY, title: 'Convoy with a createContext', server: 'convoy-context' };
const FASTIFY = { title: 'Fastify + pg', server: 'fastify', schema: TOPICS_SCHEMA };

const BODY = JSON.stringify({ channel: KEPT });
const PATH = '/api/query/posts.newest';

/** As clients do: what they have been shown is what they say they know. */
const work = { bodies: () => ({ inTurn: [BODY] }), echo: 'convoy-position' };

export const kept = {
  name: 'live-kept',
  title: 'calls of a query that is kept current',

  async measure(bench, { rounds, ...pace }) {
    const entrants = [];
    for (const [who, path] of [
      [CONVOY, PATH],
      [CONTEXT, PATH],
      [FASTIFY, '/newest-posts'],
    ]) {
      entrants.push({ who, path, server: await bench.begin(who), runs: [] });
    }
    const servers = Object.fromEntries(entrants.map(({ who, server }) => [who.server, server]));
    for (const { server } of entrants.slice(0, 2)) {
      await bench.keep(Held.open(bench.generator, server, [CONVOY.stream(KEPT)]));
    }
    await checkSame(entrants);
    for (let round = 0; round < rounds; round += 1) {
      for (const { who, path, server, runs } of entrants) {
        const before = await server.stats();
        const run = await measure({ ...bench, servers }, { server: who.server, path }, work, pace, round);
        const after = await server.stats();
        runs.push({ ...run, handlerRuns: after.handlerRuns - before.handlerRuns });
      }
    }
    const [ours, withContext, theirs] = entrants.map(({ who, runs }) => ({
      title: who.title,
      ...medianRun(runs),
      handlerRuns: runs.reduce((sum, run) => sum + run.handlerRuns, 0),
      answered: runs.reduce((sum, run) => sum + run.answered, 0),
      errors: runs.reduce((sum, run) => sum + Object.values(run.errors).reduce((all, each) => all + each, 0), 0),
      runs,
    }));
    const contestants = [ours, withContext, theirs];
    return {
      watched: [],
      kept: contestants,
      verdicts: [
        atLeast('a query kept live: calls against Fastify + pg', ours.perSecond / theirs.perSecond, 10, '×'),
        atLeast('the same with a createContext', withContext.perSecond / theirs.perSecond, 5, '×'),
      ],
      broken: contestants
        .filter(({ errors }) => errors > 0)
        .map(
          ({ title, errors, answered }) => `a query kept live, ${title}: ${errors} errors beside ${answered} answers`,
        ),
    };
  },
};

/** A comparison of different answers would be none. */
async function checkSame(entrants) {
  const texts = [];
  for (const { server, path } of entrants) {
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(`http://${server.address}${path}`, { method: 'POST', headers, body: BODY });
    texts.push(await response.text());
  }
  for (const text of texts) assert.equal(text, texts[0], 'all answer the same bytes');
}
