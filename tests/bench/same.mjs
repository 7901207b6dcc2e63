// A comparison of different answers would be none.
import assert from 'node:assert/strict';
import { contestantsOf } from './requests.mjs';

/**
 * Throws where a workload's `same` is not so. To be asked before anything is
 * written.
 *
 * @param {{ servers: Record<string, ServerProcess>, database: Database }} bench
 * @param {typeof import('./workloads.mjs').WORKLOADS[number]} work
 */
export async function checkSame({ servers, database }, work) {
  if (!work.same) return;
  const [ours, ...theirs] = contestantsOf(work);
  const body = firstBody(work.bodies(database, 0));
  const expected = await ask(servers[ours.server].address, ours.path, body);
  for (const { server, path } of theirs) {
    const answer = await ask(servers[server].address, path, body);
    assert.deepEqual(answer, expected, `${path} of ${server} and ${ours.path} answer alike`);
  }
}

function firstBody({ inTurn, picked }) {
  if (inTurn !== undefined) return inTurn[0];
  const { ids, picks, before, between, after } = picked;
  return `${before}${ids.slice(0, picks).join(between)}${after}`;
}

async function ask(address, path, body) {
  const response = await fetch(`http://${address}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  });
  const answer = await response.json();
  assert.equal(answer.ok, true, JSON.stringify(answer));
  return answer;
}
