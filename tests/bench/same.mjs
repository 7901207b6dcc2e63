// Checks that all contestants return the same responses, so that they can be compared.
import assert from 'node:assert/strict';
import { contestantsOf } from './requests.mjs';

/**
 * Throws if the responses of a workload with `same` differ. Must run before any write.
 *
 * @param {{ servers: Record<string, ServerProcess>, database: Database }} bench
 * @param {typeof import('./workloads.mjs').WORKLOADS[number]} work
 */
export async function checkSame({ servers, database }, work) {
  if (!work.same) return;
  const [ours, ...theirs] = contestantsOf(work);
  const body = firstBody(work.bodies(database, 0));
  const expected = await request(servers[ours.server].address, ours.path, body);
  for (const { server, path } of theirs) {
    const response = await request(servers[server].address, path, body);
    assert.deepEqual(response, expected, `${path} of ${server} and ${ours.path} return the same response`);
  }
}

function firstBody({ inTurn, picked }) {
  if (inTurn !== undefined) return inTurn[0];
  const { ids, picks, before, between, after } = picked;
  return `${before}${ids.slice(0, picks).join(between)}${after}`;
}

async function request(address, path, body) {
  const response = await fetch(`http://${address}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  });
  const json = await response.json();
  assert.equal(json.ok, true, JSON.stringify(json));
  return json;
}
