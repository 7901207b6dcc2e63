// Formats the measurements of live queries as text.
import { ms, table, whole } from '../table.mjs';

/** @param {object[]} live the result of `measureLive` */
export function describeLive(live) {
  const watched = live.flatMap((scenario) => scenario.watched ?? []);
  const verdicts = live.flatMap((scenario) => scenario.verdicts);
  const [crowd, cached, delta] = ['crowd', 'cached', 'delta'].map((name) => live.find((each) => each[name])?.[name]);
  return [
    INTRO,
    ...(watched.length > 0 ? [watchedTable(watched)] : []),
    ...(crowd === undefined ? [] : [crowdTable(crowd)]),
    ...(cached === undefined ? [] : [cachedTable(cached)]),
    ...(delta === undefined ? [] : [describeDelta(delta)]),
    ...live.flatMap(({ missing }) => (missing === undefined ? [] : [`Not measured: ${missing}`])),
    ...(verdicts.length > 0 ? [verdictTable(verdicts)] : []),
  ].join('\n\n');
}

const INTRO = [
  '**Live queries**: every subscriber has a separate stream and watches the 20 newest of one channel, about 2 KB. One',
  'writer inserts at a constant rate; the first writes are excluded. CPU is that of all threads during the measured',
  'writes, divided by the number of writes. The load generator has a separate column: it shares the cores, and every',
  'delay includes its time to read a frame.',
].join('\n');

const WATCHED = [
  'paced inserts, SSE subscribers; delays in ms',
  'write → frame p50',
  'p99',
  'response → frame p50',
  'p99',
  'write → response p50',
  'p99',
  'CPU ms/write: server',
  'Postgres',
  'load generator',
  'query runs/write',
  'missing',
  'wasted',
];

/** The runs, grouped by their scenario. */
function watchedTable(runs) {
  const scenarios = [...new Set(runs.map(({ where }) => where))];
  const rows = scenarios.flatMap((scenario) => {
    const group = runs.filter(({ where }) => where === scenario);
    const { writesPerSecond, measured } = group[0];
    const heading = `**${scenario}**, ${writesPerSecond}/s, ${measured} measured`;
    return [[heading, ...WATCHED.slice(1).map(() => '')], ...group.map(watchedRow)];
  });
  return table(WATCHED, rows);
}

function watchedRow(run) {
  const delays = [run.afterSending, run.afterAnswer, run.answer].flatMap(({ p50, p99 }) => [ms(p50, 2), ms(p99, 2)]);
  const cpu = [run.serverCpu, run.postgresCpu, run.generatorCpu].map(cpuMs);
  return [
    run.contestant,
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
    'response ms p50',
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
    `The share of re-runs is their number times ${ms(watched.runCpu, 2)} ms, the server CPU of one call of that query ` +
    'without subscribers: an upper bound for a run, since the call includes an HTTP request.';
  return [table(head, [row('with subscribers', watched), row('without live queries', alone)]), note].join('\n\n');
}

function cachedTable(contestants) {
  const rows = contestants.map(({ title, perSecond, runs, latency, serverCpu, postgresCpu, handlerRuns, answered }) => {
    const speeds = runs.map((run) => run.perSecond);
    const cpu = [serverCpu, postgresCpu].map((micros) => (micros === null ? '–' : micros.toFixed(0)));
    const spread = `${whole(Math.min(...speeds))}–${whole(Math.max(...speeds))}`;
    const perCall = title.startsWith('Convoy') ? (handlerRuns / answered).toFixed(3) : '–';
    return [title, whole(perSecond), spread, ms(latency.p50, 2), ms(latency.p99, 2), ...cpu, perCall];
  });
  const head = [
    'calls of a query in the result cache, 20 documents',
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
    met === undefined ? 'unknown' : met ? 'met' : 'not met',
  ]);
  return table(['live queries: targets', 'is', 'target', ''], rows);
}
