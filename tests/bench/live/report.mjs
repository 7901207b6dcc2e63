// What was measured of live queries, as text for people.
import { ms, table, whole } from '../table.mjs';

/** @param {object[]} live what `measureLive` gives */
export function describeLive(live) {
  const watched = live.flatMap((scenario) => scenario.watched ?? []);
  const verdicts = live.flatMap((scenario) => scenario.verdicts);
  const [crowd, kept, delta] = ['crowd', 'kept', 'delta'].map((name) => live.find((each) => each[name])?.[name]);
  return [
    INTRO,
    ...(watched.length > 0 ? [watchedTable(watched)] : []),
    ...(crowd === undefined ? [] : [crowdTable(crowd)]),
    ...(kept === undefined ? [] : [keptTable(kept)]),
    ...(delta === undefined ? [] : [describeDelta(delta)]),
    ...live.flatMap(({ missing }) => (missing === undefined ? [] : [`Not measured: ${missing}`])),
    ...(verdicts.length > 0 ? [verdictTable(verdicts)] : []),
  ].join('\n\n');
}

const INTRO = [
  '**Live queries**: every subscriber is a stream of its own and watches the 20 newest of one channel, about 2 KB. One',
  'writer inserts at a steady pace; the first writes are left out. CPU is of all threads, all that was used while',
  'writes were measured divided by the writes. The load generator’s own is beside it: it shares the cores, and what it',
  'needs to read a frame is in every delay.',
].join('\n');

const WATCHED = [
  'paced inserts, SSE subscribers; delays in ms',
  'write → frame p50',
  'p99',
  'answer → frame p50',
  'p99',
  'write → answer p50',
  'p99',
  'CPU ms/write: server',
  'Postgres',
  'load generator',
  'query runs/write',
  'missing',
  'wasted',
];

/** The lines of one place under its name. */
function watchedTable(runs) {
  const places = [...new Set(runs.map(({ where }) => where))];
  const rows = places.flatMap((place) => {
    const here = runs.filter(({ where }) => where === place);
    const { writesPerSecond, measured } = here[0];
    const heading = `**${place}**, ${writesPerSecond}/s, ${measured} measured`;
    return [[heading, ...WATCHED.slice(1).map(() => '')], ...here.map(watchedRow)];
  });
  return table(WATCHED, rows);
}

function watchedRow(run) {
  const delays = [run.afterSending, run.afterAnswer, run.answer].flatMap(({ p50, p99 }) => [ms(p50, 2), ms(p99, 2)]);
  const cpu = [run.serverCpu, run.postgresCpu, run.generatorCpu].map(cpuMs);
  return [
    run.who,
    ...delays,
    ...cpu,
    run.queryRunsPerWrite === null ? '–' : run.queryRunsPerWrite.toFixed(2),
    String(run.missing),
    String(run.wasted),
  ];
}

const cpuMs = (micros) => (micros === null ? '–' : ms(micros, 2));

function crowdTable({ where, watched, alone }) {
  const row = (name, run) => [
    name,
    whole(run.perSecond),
    ms(run.answer.p50, 2),
    ms(run.answer.p99, 2),
    run.subscribers === 0 ? '–' : ms(run.afterSending.p50, 2),
    run.subscribers === 0 ? '–' : ms(run.afterSending.p99, 2),
    run.subscribers === 0 ? '–' : whole(run.framesEach),
    run.subscribers === 0 ? '–' : whole(run.queryRuns),
    cpuMs(run.serverCpu),
    cpuMs(run.postgresCpu),
    cpuMs(run.generatorCpu),
  ];
  const head = [
    where,
    'inserts/s',
    'answer ms p50',
    'p99',
    'insert → frame ms p50',
    'p99',
    'frames each',
    're-runs',
    'CPU ms/insert: server',
    'Postgres',
    'load generator',
  ];
  const note =
    `The share of re-runs is their number times ${ms(watched.runCpu, 2)} ms, what the server spends on one call of that query ` +
    'when nobody watches: more than a run, since it is asked for and answered over HTTP.';
  return [table(head, [row('watched', watched), row('live queries off', alone)]), note].join('\n\n');
}

function keptTable(contestants) {
  const rows = contestants.map(({ title, perSecond, runs, latency, serverCpu, postgresCpu, handlerRuns, answered }) => {
    const speeds = runs.map((run) => run.perSecond);
    const cpu = [serverCpu, postgresCpu].map((micros) => (micros === null ? '–' : micros.toFixed(0)));
    const spread = `${whole(Math.min(...speeds))}–${whole(Math.max(...speeds))}`;
    const perCall = title.startsWith('Convoy') ? (handlerRuns / answered).toFixed(3) : '–';
    return [title, whole(perSecond), spread, ms(latency.p50, 2), ms(latency.p99, 2), ...cpu, perCall];
  });
  const head = [
    'calls of a query a stream keeps current, 20 documents',
    'calls/s',
    'all runs',
    'p50 ms',
    'p99 ms',
    'CPU µs/call: server',
    'Postgres',
    'handler runs/call',
  ];
  return table(head, rows);
}

function describeDelta({ rows, rowBytes, wholeBytes, ofRow }) {
  return (
    `A list of ${whole(rows)} documents is ${whole(wholeBytes)} bytes on \`/api/live\`; a change of one of them, ` +
    `of ${rowBytes} bytes, was sent as ${ofRow.map((ratio) => whole(ratio * rowBytes)).join(', ')} bytes.`
  );
}

function verdictTable(verdicts) {
  const number = (value, unit) => `${value.toFixed(Math.abs(value) < 10 ? 2 : 1)} ${unit}`.trim();
  const rows = verdicts.map(({ what, is, target, unit, bound, met }) => [
    what,
    is === null ? '–' : number(is, unit),
    `${bound} ${target} ${unit}`.trim(),
    met === undefined ? 'not known' : met ? 'met' : 'not met',
  ]);
  return table(['live queries: what is to be reached', 'is', 'target', ''], rows);
}
