/** Prints the live queries in the terminal of `convoy dev`. */
import { count } from '../count.js';
import type { Terminal } from '../terminal.js';

/** One live query, as the server describes it. */
export interface LiveQueryOverview {
  readonly function: string;
  readonly args: unknown;
  readonly reads: readonly string[];
  readonly subscribers: number;
  readonly runs: number;
  readonly state: string;
  /** The context keys that callers must agree in to share it; `null` where it is not shared. */
  readonly sharedBy: readonly string[] | null;
  readonly lastCause: string | null;
}

/** All live queries, as the server describes them. */
export interface LiveOverview {
  readonly sessions: number;
  readonly differing: readonly string[];
  readonly queries: readonly LiveQueryOverview[];
}

/** Prints the live queries of `server`, the base URL of its API. */
export async function showLiveQueries(server: string, terminal: Terminal): Promise<void> {
  try {
    const response = await fetch(`${server}/_live`);
    const answer = (await response.json()) as { readonly ok: boolean; readonly data: LiveOverview };
    if (!answer.ok) throw new Error(JSON.stringify(answer));
    for (const line of describeLive(answer.data)) terminal.info(line);
  } catch (error) {
    terminal.fail(`The live queries cannot be listed: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** The overview as lines of text. */
export function describeLive({ sessions, differing, queries }: LiveOverview): string[] {
  const lines = [`${count(queries.length, 'live query', 'live queries')} over ${count(sessions, 'stream')}`];
  for (const query of queries) {
    const args = query.args === null ? '' : ` ${JSON.stringify(query.args)}`;
    const state = query.state === 'idle' ? '' : `, ${query.state}`;
    lines.push(
      `${query.function}${args}: ${count(query.subscribers, 'subscriber')}, ${count(query.runs, 'run')}${state}, ${sharing(query)}`,
    );
    for (const read of query.reads) lines.push(`  reads ${read}`);
    if (query.lastCause !== null) lines.push(`  cause of the last run: ${query.lastCause}`);
  }
  for (const name of differing) {
    lines.push(`${name} returned different results to callers that share its result; see the log`);
  }
  return lines;
}

function sharing({ function: name, sharedBy }: LiveQueryOverview): string {
  if (name === 'createContext') return 'for one stream';
  if (sharedBy === null) return 'not shared';
  // A key with this prefix is not a context key; it describes the context as a whole.
  const keys = sharedBy.filter((key) => !key.startsWith('@@'));
  return keys.length === 0 ? 'shared by all callers' : `shared by callers with the same ${keys.join(', ')}`;
}
