/** The live queries of a running server, as `GET /api/_live` lists them. */

/** Runs, and those of them whose answer equalled the previous one. */
export interface CountedRuns {
  readonly runs: number;
  readonly equal: number;
}

/** Why a run was made. The fields after `text` are there where a change was the cause. */
export interface RunCause {
  /** `commit`, `outside`, `subscribed`, … */
  readonly kind: string;
  readonly text: string;
  /** The number of the commit among those that the server has received. */
  readonly commit?: number;
  /** The function that wrote. */
  readonly by?: string;
  readonly table?: string;
  readonly document?: string;
  readonly read?: string;
}

/** One run of a live query. */
export interface LiveRun {
  readonly run: number;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly ms: number;
  /** Whether its answer equalled the previous one; `null` if there was none. */
  readonly equal: boolean | null;
  readonly cause: RunCause;
  readonly furtherCommits: number;
}

/** Reads of one table that differ only in their values. */
export interface Dependence {
  /** The table in Postgres; `null` if it can be any. */
  readonly table: string | null;
  /** Whether every write to the table makes the query run again. */
  readonly whole: boolean;
  /** A read that would make it run less often. */
  readonly advice?: RunAdvice;
}

/** One live query. */
export interface LiveQueryOverview {
  readonly function: string;
  readonly args: unknown;
  readonly reads: readonly string[];
  readonly dependsOn: readonly Dependence[];
  readonly subscribers: number;
  readonly runs: number;
  readonly causes: Readonly<Record<string, CountedRuns>>;
  readonly state: string;
  /** The context keys that callers must agree in to share it; `null` where it is not shared. */
  readonly sharedBy: readonly string[] | null;
  readonly lastCause: string | null;
  /** Its last runs, where one function was asked for. */
  readonly history?: readonly LiveRun[];
}

/** What would avoid runs whose answer stays the same. */
export interface RunAdvice {
  readonly text: string;
  readonly table: string;
  /** The line to add to the table in the schema. */
  readonly schema?: string;
  /** The steps of the query. */
  readonly query?: string;
}

/** The runs that changes to one kind of read have caused. */
export interface ReadRuns extends CountedRuns {
  readonly read: string;
  readonly example: RunCause;
  readonly advice: RunAdvice | null;
}

/** The runs of one function since its code was loaded. */
export interface FunctionRuns extends CountedRuns {
  readonly function: string;
  /** Runs that had a previous answer to compare with. */
  readonly compared: number;
  readonly causes: Readonly<Record<string, CountedRuns>>;
  readonly reads: readonly ReadRuns[];
  readonly otherEqual: number;
}

/** All live queries. */
export interface LiveOverview {
  readonly sessions: number;
  readonly differing: readonly string[];
  readonly functions: readonly FunctionRuns[];
  readonly queries: readonly LiveQueryOverview[];
}

/**
 * Asks a server for its live queries, or for those of one function with their last runs. `server` is the base URL of its
 * API.
 */
export async function fetchOverview(server: string, name?: string): Promise<LiveOverview> {
  const url = `${server}/_live${name === undefined ? '' : `?name=${encodeURIComponent(name)}`}`;
  const response = await fetch(url).catch((error: unknown) => {
    throw new Error(
      `No server answers at ${server}. Start it with \`convoy dev\`, or give the address of its API with --url.`,
      { cause: error },
    );
  });
  const answer = (await response.json().catch((error: unknown) => {
    throw new Error(`${url} answers with something other than JSON; is it the API of Convoy?`, { cause: error });
  })) as { readonly ok?: boolean; readonly data?: LiveOverview; readonly error?: { readonly message?: string } };
  if (answer.ok !== true || answer.data === undefined) {
    throw new Error(answer.error?.message ?? `${url} answers with status ${response.status}.`);
  }
  return answer.data;
}
