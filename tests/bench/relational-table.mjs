// Evaluates the rounds of the comparison with servers on relational tables, and formats them
// as Markdown. Pure.
import { median, ratioOf } from './pairs.mjs';
import { describeErrors } from './report.mjs';
import { ms, table, times, whole } from './table.mjs';

/**
 * The medians of each contestant, the ratio of Convoy's speed to that of each other in the
 * same rounds, and the `better` peer, which has the lowest ratio. Only servers on relational
 * tables count as peers, if the row has tables at all.
 *
 * @param {{ name: string, title: string, goal?: number }} row
 * @param {{ title: string, tables: string, runs: object[] }[]} contestants Convoy first
 */
export function evaluate({ name, title, goal }, [convoy, ...others]) {
  const ours = summary(convoy);
  const theirs = others.map((other) => ({ ...summary(other), ratio: ratioTo(convoy, other) }));
  const relational = theirs.filter(({ tables }) => tables === 'relational');
  const peers = relational.length > 0 ? relational : theirs;
  const better = peers.reduce((least, peer) => (peer.ratio.median < least.ratio.median ? peer : least));
  return { name, title, goal, ours, theirs, better };
}

function ratioTo(convoy, other) {
  return ratioOf(convoy.runs.map(({ perSecond }, round) => ({ before: other.runs[round].perSecond, now: perSecond })));
}

function summary({ title, tables, errors, runs }) {
  const speeds = runs.map(({ perSecond }) => perSecond);
  return {
    title,
    tables,
    errors,
    perSecond: medianOf(speeds),
    slowest: Math.min(...speeds),
    fastest: Math.max(...speeds),
    p50: medianOf(runs.map(({ latency }) => latency.p50)),
    p99: medianOf(runs.map(({ latency }) => latency.p99)),
    serverCpu: medianOf(runs.map(({ serverCpu }) => serverCpu)),
    postgresCpu: medianOf(runs.map(({ postgresCpu }) => postgresCpu)),
    functionRuns: medianOf(runs.map((run) => (run.functionRuns === null ? null : run.functionRuns / run.answered))),
  };
}

/** `null` if one of them is unknown. */
function medianOf(numbers) {
  return numbers.includes(null) ? null : median(numbers.toSorted((a, b) => a - b));
}

/** @param {ReturnType<typeof evaluate>[]} rows */
export function describeRows(rows) {
  return [goalsTable(rows), contestantsTable(rows)].join('\n\n');
}

const GOALS = [
  '',
  'Convoy: calls/s',
  'CPU µs/call: server + Postgres',
  'the better peer',
  'calls/s',
  'CPU µs/call',
  'ratio, median of pairs',
  'goal',
  '',
];

/** One line per row: Convoy beside the better peer. */
function goalsTable(rows) {
  const cells = rows.map(({ title, goal, ours, better }) => [
    title,
    ...speedAndCpu(ours),
    better.title,
    ...speedAndCpu(better),
    ratioCell(better.ratio),
    ...(goal === undefined ? ['', ''] : [`≥ ${goal}`, better.ratio.median >= goal ? 'met' : 'not met']),
  ]);
  return table(GOALS, cells);
}

const CONTESTANTS = [
  '',
  'calls/s',
  'all rounds',
  'Convoy is',
  'p50 ms',
  'p99 ms',
  'CPU µs/call: server',
  'Postgres',
  'function runs/call',
  'errors',
];

/** One line per contestant, below the title of its row. */
function contestantsTable(rows) {
  const lines = rows.flatMap(({ title, ours, theirs }) => [
    [`**${title}**`, ...CONTESTANTS.slice(1).map(() => '')],
    ...[ours, ...theirs].map(contestantLine),
  ]);
  return table(CONTESTANTS, lines);
}

function contestantLine({ ratio, ...measured }) {
  return [
    measured.title,
    whole(measured.perSecond),
    `${whole(measured.slowest)}–${whole(measured.fastest)}`,
    ratio === undefined ? '' : ratioCell(ratio),
    ms(measured.p50),
    ms(measured.p99),
    micros(measured.serverCpu),
    micros(measured.postgresCpu),
    measured.functionRuns === null ? '–' : measured.functionRuns.toFixed(2),
    describeErrors(measured.errors),
  ];
}

function speedAndCpu({ perSecond, serverCpu, postgresCpu }) {
  return [whole(perSecond), `${micros(serverCpu)} + ${micros(postgresCpu)}`];
}

function ratioCell({ median, low, high }) {
  return `${times(median)} [${low.toFixed(2)}, ${high.toFixed(2)}]`;
}

function micros(number) {
  return number === null ? '–' : whole(number);
}
