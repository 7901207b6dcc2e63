// Formats measurements as text.
import { describeEnvironment } from './environment.mjs';
import { describeLive } from './live/report.mjs';
import { ms, table, times, whole } from './table.mjs';
import { tally } from './targets.mjs';

/** @param {{ environment: object, requests: object[], live: object[], broken: string[] }} results */
export function describe({ environment, requests, live, broken }) {
  const parts = [describeEnvironment(environment)];
  if (requests.length > 0) parts.push(COUNTS, requestsTable(requests));
  if (live.length > 0) parts.push(describeLive(live));
  if (environment.engine === 'release') parts.push(describeTally(tally(requests, live)));
  if (broken.length > 0) parts.push(broken.map((sentence) => `✗ ${sentence}`).join('\n'));
  return parts.join('\n\n');
}

const COUNTS =
  'Statements and round trips are counted in a separate run. pgbench has as many connections as a server has to Postgres.';

const HEAD = [
  '',
  'calls/s',
  'all runs',
  'Convoy is',
  'target',
  'p50 ms',
  'p99 ms',
  'CPU µs/call: server',
  'Postgres',
  'statements/call: alone',
  'together',
  'round trips/call: alone',
  'together',
  'errors',
];

function requestsTable(all) {
  const rows = all.flatMap(({ title, ours, theirs, ceiling }) => [
    [`**${title}**`, ...HEAD.slice(1).map(() => '')],
    row(ours),
    ...theirs.map(row),
    ...(ceiling === undefined ? [] : [row(ceiling)]),
  ]);
  const reasons = new Set(all.flatMap(({ ceiling }) => ceiling?.missing ?? []));
  return [table(HEAD, rows), ...[...reasons].map((reason) => `pgbench has no results: ${reason}`)].join('\n\n');
}

function row({ title, missing, ...measured }) {
  if (missing !== undefined) return [title, ...HEAD.slice(1).map(() => '–')];
  const { perSecond, runs, ratio, latency, serverCpu, postgresCpu, wire, errors } = measured;
  const speeds = runs.map((run) => run.perSecond);
  const cpu = (micros) => (micros === null ? '–' : micros.toFixed(0));
  const count = (number) => (number === undefined ? '–' : number.toFixed(1));
  return [
    title,
    whole(perSecond),
    `${whole(Math.min(...speeds))}–${whole(Math.max(...speeds))}`,
    ratio === undefined ? '' : times(ratio),
    describeTarget(measured),
    ms(latency.p50),
    ms(latency.p99),
    cpu(serverCpu),
    cpu(postgresCpu),
    count(wire?.alone.statements),
    count(wire?.together.statements),
    count(wire?.alone.roundTrips),
    count(wire?.together.roundTrips),
    errors === undefined ? '–' : describeErrors(errors),
  ];
}

/** @param {Record<string, number>} errors by status */
export function describeErrors(errors) {
  const counts = Object.entries(errors).map(([status, number]) => `${number} × ${status}`);
  return counts.length === 0 ? '0' : counts.join(', ');
}

function describeTarget({ target, met, share }) {
  if (target === undefined) return '';
  const bound = `≥ ${times(target)}`;
  if (met === undefined) return `${bound} of uniform, which was not measured`;
  const verdict = met ? 'met' : 'not met';
  return share === undefined ? `${bound}, ${verdict}` : `${bound} of uniform, is ${times(share)}, ${verdict}`;
}

function describeTally({ met, of }) {
  return of === 0 ? 'These workloads have no targets.' : `${met} of ${of} targets met.`;
}
