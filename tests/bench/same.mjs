// Checks that all contestants return the same responses and write the same rows, so that they
// can be compared.
import assert from 'node:assert/strict';
import { callsOf, contestantsOf } from './requests.mjs';

/**
 * Makes each call of the workloads with `same` or `writes` once, and throws if contestants
 * differ. Must run before any other write. Reads come first: what is inserted has other ids
 * in each table.
 *
 * @param {{ servers: Record<string, ServerProcess>, database: Database }} bench
 * @param {typeof import('./workloads.mjs').WORKLOADS} works
 */
export async function checkSame(bench, works) {
  const parts = works.flatMap((work) => (work.mix ?? [work]).map((part, index) => ({ work, part, index })));
  for (const { work, index } of parts.filter(({ part }) => part.same)) {
    await compareCalls(work, index, (contestant, body) => request(bench, contestant, body));
  }
  for (const { work, part, index } of parts.filter(({ part }) => part.writes !== undefined)) {
    await compareCalls(work, index, (contestant, body) => write(bench, contestant, body, part.writes));
  }

  /** Compares one call of all contestants. A server with several ways of it is compared once for each. */
  async function compareCalls(work, index, take) {
    const callOf = (contestant) => callsOf(work, contestant, bench.database, 0)[index];
    const [ours, ...theirs] = contestantsOf(work);
    for (const way of waysOf(theirs)) {
      const { path, bodies } = callOf(ours);
      const body = firstBody(bodies);
      const expected = await take({ ...ours, path }, body);
      for (const contestant of way) {
        const other = callOf(contestant).path;
        const taken = await take({ ...contestant, path: other }, body);
        assert.deepEqual(taken, expected, `${other} of ${contestant.server} and ${path} do the same`);
      }
    }
  }
}

/** The contestants in groups in which each server comes once, so that all tables stay the same. */
function waysOf(contestants) {
  const ways = [];
  const times = new Map();
  for (const contestant of contestants) {
    const way = times.get(contestant.server) ?? 0;
    times.set(contestant.server, way + 1);
    ways[way] = [...(ways[way] ?? []), contestant];
  }
  return ways;
}

function firstBody({ inTurn, picked }) {
  if (inTurn !== undefined) return inTurn[0];
  const { ids, picks, before, between, after } = picked;
  return `${before}${ids.slice(0, picks).join(between)}${after}`;
}

/** The response of a write, with any text in place of new ids, and the rows that it has written. */
async function write(bench, contestant, body, table) {
  const { database } = bench;
  const known = new Set(database.ids(table));
  const began = await database.now();
  const response = await request(bench, contestant, body);
  const isNew = (value) => typeof value === 'string' && value.startsWith(`${table}:`) && !known.has(value);
  return {
    response: JSON.parse(JSON.stringify(response), (_, value) => (isNew(value) ? 'a new id' : value)),
    rows: await database.writtenSince(began, contestant, table),
  };
}

async function request({ servers }, { server, path }, body) {
  const response = await fetch(`http://${servers[server].address}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  });
  const json = await response.json();
  assert.equal(json.ok, true, `${path} of ${server}: ${JSON.stringify(json)}`);
  return json;
}
