// Compares sets of options of one server: each workload on all of them in turn, so that a
// ratio compares runs of the same round.
import { ratioOf, verdictOf } from './pairs.mjs';
import { table, whole } from './table.mjs';

/**
 * Measures each set once per round, in rotating order.
 *
 * @template Run
 * @param {string[]} sets
 * @param {number} rounds
 * @param {(set: string, round: number) => Promise<Run>} measure
 * @returns {Promise<Record<string, Run[]>>}
 */
export async function inTurns(sets, rounds, measure) {
  const taken = Object.fromEntries(sets.map((set) => [set, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (let turn = 0; turn < sets.length; turn += 1) {
      const set = sets[(round + turn) % sets.length];
      taken[set].push(await measure(set, round));
    }
  }
  return taken;
}

/**
 * The median of the first set's calls per second, and the ratio of each other set to it.
 *
 * @param {Record<string, { perSecond: number }[]>} taken
 */
export function compared(taken) {
  const [base, ...others] = Object.keys(taken);
  const perSecond = (set) => taken[set].map((run) => run.perSecond);
  const median = perSecond(base).toSorted((a, b) => a - b)[Math.floor(perSecond(base).length / 2)];
  const ratios = others.map((set) => {
    const ratio = ratioOf(perSecond(base).map((before, round) => ({ before, now: perSecond(set)[round] })));
    return { set, ratio, verdict: verdictOf(ratio, 'higher') };
  });
  return { median, ratios };
}

/**
 * The comparisons as a table.
 *
 * @param {(ReturnType<typeof compared> & { title: string })[]} rows
 * @param {string[]} sets
 */
export function describe(rows, [base, ...others]) {
  const cell = ({ ratio: { median, low, high }, verdict }) =>
    `${median.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]${verdict === 'slower' ? ' ▼' : ''}`;
  const cells = rows.map(({ title, median, ratios }) => [title, whole(median), ...ratios.map(cell)]);
  return table(['', `${base}, calls/s`, ...others], cells);
}
