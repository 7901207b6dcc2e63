// Compares sets of options of one server: each workload on all of them in turn, so that a
// ratio compares runs of the same round.
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { PAIRS, ratioOf, verdictOf } from './pairs.mjs';
import { table, whole } from './table.mjs';

/**
 * The options of a comparison. A signal ends the process, and with it what it has started.
 *
 * @param {string} only the workloads that are measured by default, as a regular expression
 * @param {import('node:util').ParseArgsOptionsConfig} [others] further options
 */
export function optionsOf(only, others = {}) {
  const { values } = parseArgs({
    options: {
      generator: { type: 'string' },
      results: { type: 'string' },
      only: { type: 'string', default: only },
      rounds: { type: 'string', default: String(PAIRS) },
      ...others,
    },
  });
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error(`${values.rounds} is no number of rounds.`);
  return { ...values, only: new RegExp(values.only), rounds };
}

/**
 * Prints a comparison of sets, and writes it as JSON. Broken invariants fail the run.
 *
 * @param {{ results: string, rounds: number }} options
 * @param {string[]} sets
 * @param {{ rows: object[], broken: string[] }} found
 * @param {string} [remark]
 */
export async function report(options, sets, { rows, broken }, remark = '') {
  const text = [describe(rows, sets), ...(remark === '' ? [] : [remark])].join('\n\n');
  await publish(options, text, { at: new Date().toISOString(), rounds: options.rounds, rows, broken });
}

/**
 * Prints results as `text`, and writes them as JSON. Broken invariants fail the run.
 *
 * @param {{ results: string }} options
 * @param {string} text
 * @param {{ broken: string[] }} found
 */
export async function publish({ results }, text, found) {
  console.log(`\n${text}\n${found.broken.map((sentence) => `✗ ${sentence}\n`).join('')}`);
  await mkdir(dirname(results), { recursive: true });
  await writeFile(results, `${JSON.stringify(found, null, 2)}\n`);
  if (found.broken.length > 0) process.exitCode = 1;
}

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
 * The median of the first set's calls per second, and the ratio of each other set to it; and the
 * same of the processor time of the server for each call, which other load on the machine changes
 * less.
 *
 * @param {Record<string, { perSecond: number, serverCpu: number | null }[]>} taken
 */
export function compared(taken) {
  const cpu = ({ serverCpu }) => serverCpu;
  const isMeasured = Object.values(taken).every((runs) => runs.every((run) => typeof cpu(run) === 'number'));
  return {
    ...comparedBy(taken, ({ perSecond }) => perSecond, 'higher'),
    cpu: isMeasured ? comparedBy(taken, cpu, 'lower') : null,
  };
}

function comparedBy(taken, measure, better) {
  const [base, ...others] = Object.keys(taken);
  const values = (set) => taken[set].map(measure);
  const median = values(base).toSorted((a, b) => a - b)[Math.floor(values(base).length / 2)];
  const ratios = others.map((set) => {
    const ratio = ratioOf(values(base).map((before, round) => ({ before, now: values(set)[round] })));
    return { set, ratio, verdict: verdictOf(ratio, better) };
  });
  return { median, ratios };
}

/**
 * The comparisons as tables.
 *
 * @param {(ReturnType<typeof compared> & { title: string })[]} rows
 * @param {string[]} sets
 */
function describe(rows, [base, ...others]) {
  const cell = ({ ratio: { median, low, high }, verdict }) =>
    `${median.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]${verdict === 'slower' ? ' ▼' : ''}`;
  const line = (title, { median, ratios }) => [title, whole(median), ...ratios.map(cell)];
  const speed = rows.map((row) => line(row.title, row));
  const cpu = rows.filter((row) => row.cpu !== null).map((row) => line(row.title, row.cpu));
  const tables = [table(['', `${base}, calls/s`, ...others], speed)];
  if (cpu.length > 0) tables.push(table(['', `${base}, server µs/call`, ...others], cpu));
  return tables.join('\n\n');
}
