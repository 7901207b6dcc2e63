/** What is live, shown to whoever types `live` where `convoy dev` runs. */
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { count } from '../count.js';
import type { Terminal } from '../terminal.js';

/** What the server says of one live query. */
export interface LiveQueryOverview {
  readonly function: string;
  readonly args: unknown;
  readonly reads: readonly string[];
  readonly subscribers: number;
  readonly runs: number;
  readonly state: string;
  /** The keys of the context by which it is shared; `null` where nobody shares it. */
  readonly sharedBy: readonly string[] | null;
  readonly lastCause: string | null;
}

/** What the server says of all of them. */
export interface LiveOverview {
  readonly sessions: number;
  readonly differing: readonly string[];
  readonly queries: readonly LiveQueryOverview[];
}

/** Lists what is live at `server` each time that a line of `input` says `live`, until the returned function is called. */
export function listLiveOnRequest(server: string, terminal: Terminal, input: Readable = process.stdin): () => void {
  // Not as a terminal: that would take Ctrl-C away from it.
  const lines = createInterface({ input, terminal: false });
  lines.on('line', (line) => {
    if (line.trim().toLowerCase() === 'live') void show(server, terminal);
  });
  return () => {
    lines.close();
    // Someone else's end of a pipe must not keep this process.
    input.destroy();
  };
}

async function show(server: string, terminal: Terminal): Promise<void> {
  try {
    const response = await fetch(`${server}/_live`);
    const answer = (await response.json()) as { readonly ok: boolean; readonly data: LiveOverview };
    if (!answer.ok) throw new Error(JSON.stringify(answer));
    for (const line of describeLive(answer.data)) terminal.info(line);
  } catch (error) {
    terminal.fail(`What is live cannot be shown: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** The overview in lines. */
export function describeLive({ sessions, differing, queries }: LiveOverview): string[] {
  const lines = [`${count(queries.length, 'live query', 'live queries')} over ${count(sessions, 'stream')}`];
  for (const query of queries) {
    const args = query.args === null ? '' : ` ${JSON.stringify(query.args)}`;
    const state = query.state === 'idle' ? '' : `, ${query.state}`;
    lines.push(
      `${query.function}${args}: watched by ${query.subscribers}, ${count(query.runs, 'run')}${state}, ${sharing(query)}`,
    );
    for (const read of query.reads) lines.push(`  has read ${read}`);
    if (query.lastCause !== null) lines.push(`  ran last because ${query.lastCause}`);
  }
  for (const name of differing) {
    lines.push(`${name} gave different results to callers between whom its result is shared: see the log`);
  }
  return lines;
}

function sharing({ function: name, sharedBy }: LiveQueryOverview): string {
  if (name === 'createContext') return 'for one stream';
  if (sharedBy === null) return 'shared by nobody';
  // What begins so is not a key of the context but about it as a whole.
  const keys = sharedBy.filter((key) => !key.startsWith('@@'));
  return keys.length === 0 ? 'shared by everyone' : `shared by those of the same ${keys.join(', ')}`;
}
