/** Describes why live queries ran, and what would avoid runs whose answer stayed the same. Pure. */
import { count } from '../count.js';
import type { CountedRuns, FunctionRuns, LiveQueryOverview, LiveRun, RunAdvice } from './overview.js';

/** The lines of one live query: its counters, what it reads, and its last runs. */
export function describeQuery(query: LiveQueryOverview): string[] {
  const args = query.args === null ? '' : ` ${JSON.stringify(query.args)}`;
  return [
    `${query.function}${args}: ${count(query.subscribers, 'subscriber')}, ${count(query.runs, 'run')}`,
    ...query.reads.map((read) => `  reads ${read}`),
    ...(query.history ?? []).map((run) => `  ${describeRun(run)}`),
  ];
}

function describeRun({ at, ms, equal, cause, furtherCommits }: LiveRun): string {
  const time = new Date(at).toISOString().slice(11, 23);
  const answer = equal === null ? 'first' : equal ? 'equal' : 'changed';
  const more = furtherCommits === 0 ? '' : `, and ${count(furtherCommits, 'more commit')}`;
  return `${time} ${answer.padEnd(7)} ${ms.toFixed(1).padStart(7)} ms  ${cause.kind}: ${cause.text}${more}`;
}

/** The lines of one function: its runs by cause, the share of wasted runs, and what would avoid these. */
export function describeWaste(runs: FunctionRuns): string[] {
  const { function: name, compared, equal, causes, reads, otherEqual } = runs;
  const byCause = Object.entries(causes).map(([kind, each]) => describeCause(kind, each));
  const lines = [`${name}: ${wastedShare(equal, compared)}`, `  runs by cause: ${byCause.join(', ')}`];
  for (const read of reads) {
    if (read.equal === 0) continue;
    lines.push(`  ${read.equal} of ${count(read.runs, 'run')} by ${read.read}`, `    such as: ${read.example.text}`);
    if (read.advice !== null) lines.push(...describeAdvice(read.advice).map((line) => `    ${line}`));
  }
  if (otherEqual > 0) lines.push(`  ${otherEqual} by other reads`);
  return lines;
}

function describeCause(kind: string, { runs, equal }: CountedRuns): string {
  return equal === 0 ? `${kind} ${runs}` : `${kind} ${runs} (${equal} equal)`;
}

/** `9 of 12 runs were wasted (75 %)` */
export function wastedShare(equal: number, compared: number): string {
  const verb = equal === 1 ? 'was' : 'were';
  const share = compared === 0 ? '' : ` (${Math.round((100 * equal) / compared)} %)`;
  return `${equal} of ${count(compared, 'run')} ${verb} wasted${share}: the answer was the same as before`;
}

/** The advice, with the line of the schema and the steps of the query where it has them. */
export function describeAdvice({ text, table, schema, query }: RunAdvice): string[] {
  const lines = [text];
  if (schema !== undefined) lines.push(`schema, table ${table}: ${schema}`);
  if (query !== undefined) lines.push(`query: ${query}`);
  return lines;
}
