// Measurements as text for people: Markdown that also reads well unrendered.

/** @param {{ environment: object, requests: object[], live: object, broken: string[] }} results */
export function describe({ environment, requests, live, broken }) {
  const parts = [describeEnvironment(environment), requestsTable(requests), liveTable(live)];
  if (broken.length > 0) parts.push(broken.map((sentence) => `✗ ${sentence}`).join('\n'));
  return parts.join('\n\n');
}

function describeEnvironment({ cpu, cores, node, postgres, engine, connections, rounds, measureMs }) {
  const runs = rounds === 1 ? 'one run each' : `medians of ${rounds} alternating runs`;
  const warning = engine === 'release' ? [] : ['This engine is a development build: its speeds say nothing.'];
  return [
    ...warning,
    `${cores} × ${cpu}, shared by the servers, Postgres and the load generator. Node ${node}.`,
    `Postgres ${postgres.server_version}: fsync ${postgres.fsync} (${postgres.wal_sync_method}), synchronous_commit ` +
      `${postgres.synchronous_commit}, the same for both.`,
    `${connections} connections, ${runs} of ${measureMs / 1000} s after a warm-up.`,
  ].join('\n');
}

function requestsTable(all) {
  const head = ['', 'requests/s', 'all runs', 'Convoy is', 'p50 ms', 'p99 ms', 'CPU µs/request: server', 'Postgres'];
  const rows = all.flatMap(({ title, ours, theirs }) => [
    [`**${title}**`, '', '', '', '', '', '', ''],
    row(ours, ''),
    ...theirs.map((other) => row(other, `${(ours.perSecond / other.perSecond).toFixed(2)}×`)),
  ]);
  return table(head, rows);
}

function row({ title, perSecond, latency, serverCpu, postgresCpu, runs }, ratio) {
  const speeds = runs.map((run) => run.perSecond);
  const cpu = (micros) => (micros === null ? '–' : micros.toFixed(0));
  return [
    title,
    whole(perSecond),
    `${whole(Math.min(...speeds))}–${whole(Math.max(...speeds))}`,
    ratio,
    ms(latency.p50),
    ms(latency.p99),
    cpu(serverCpu),
    cpu(postgresCpu),
  ];
}

function liveTable(live) {
  const delays = ({ p50, p99, max }) => [ms(p50), ms(p99), ms(max)];
  const intro =
    `**Live**: ${live.subscribers.toLocaleString('en-US')} SSE subscribers of ${live.queries} queries; ` +
    `${live.writes} paced inserts, each of concern to one query, the delays of the last ${live.measured} taken.`;
  const times = table(
    ['delay in ms', 'p50', 'p99', 'max'],
    [
      ['sending a write → its frame at the subscribers', ...delays(live.afterSending)],
      ['the writer’s own answer → the frame', ...delays(live.afterAnswer)],
      ['sending a write → the writer’s own answer', ...delays(live.answer)],
    ],
  );
  const counts = table(
    ['count', 'is', 'must be'],
    [
      ['query runs per write (beside the mutation’s own)', live.queryRunsPerWrite.toFixed(2), '1.00'],
      ['frames that never came', String(live.missing), '0'],
      ['frames that showed nothing new', String(live.wasted), '0'],
    ],
  );
  return [intro, times, counts].join('\n\n');
}

function whole(number) {
  return Math.round(number).toLocaleString('en-US');
}

function ms(micros) {
  return (micros / 1000).toFixed(1);
}

/** The first column is text, the others are numbers. */
function table(head, rows) {
  const widths = head.map((_, place) => Math.max(...[head, ...rows].map((cells) => cells[place].length), 3));
  const line = (cells) =>
    `| ${cells.map((cell, place) => (place === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[place]))).join(' | ')} |`;
  const rule = widths.map((width, place) => (place === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`));
  return [line(head), line(rule), ...rows.map(line)].join('\n');
}
