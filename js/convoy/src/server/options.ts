/** The options of the engine, which do not depend on the program. */

import type { ResourceLimits } from 'node:worker_threads';
import type { CorsOptions } from './cors-options.js';
import type { RateLimit } from './function-limits.js';
import type { OnEvent } from './telemetry/events.js';
import type { TelemetryOptions } from './telemetry/telemetry-options.js';

/** Limits, each with its default and the error code for exceeding it. */
export interface ConvoyLimits {
  /** How long a query may take, in milliseconds (10,000); `TIMEOUT`. */
  readonly queryMs?: number;
  /** How long a mutation may take, retries included, in milliseconds (15,000); `TIMEOUT`. */
  readonly mutationMs?: number;
  /** How long an action may take, in milliseconds (600,000); `TIMEOUT`. */
  readonly actionMs?: number;
  /** How often a mutation is retried after a conflict with another write (4); `CONFLICT`. */
  readonly retries?: number;
  /** The largest request body, in bytes (1 MiB); `PAYLOAD_TOO_LARGE`. */
  readonly bodyBytes?: number;
  /** The largest result, in bytes (16 MiB); `PAYLOAD_TOO_LARGE`. */
  readonly resultBytes?: number;
  /** Documents one call may read (32,000); `PAYLOAD_TOO_LARGE`. */
  readonly maxDocumentsRead?: number;
  /** Documents one call may write (16,000); `PAYLOAD_TOO_LARGE`. */
  readonly maxDocumentsWritten?: number;
  /**
   * How long a worker may be unresponsive after a call on it timed out, in milliseconds (5,000); it is then replaced. If
   * functions run on the calling thread, which cannot be replaced, `/api/health` returns 503 after this time instead.
   */
  readonly workerUnresponsiveMs?: number;
  /** Calls that may wait for JavaScript (1,024); `UNAVAILABLE`. */
  readonly maxPendingCalls?: number;
  /** HTTP routes that may run at once (1,024), which are not counted by `maxPendingCalls`; `UNAVAILABLE`. */
  readonly routes?: number;
  /**
   * HTTP routes that may run at once for one client address, or for one network of IPv6 with a prefix of 64 bits (64), as
   * determined by `trustProxy`; `RATE_LIMITED`.
   */
  readonly routesPerAddress?: number;
  /**
   * The largest size of a document after a write, in bytes of its JSON in Postgres (1 MiB); `PAYLOAD_TOO_LARGE`. Documents
   * that are larger can be read.
   */
  readonly documentBytes?: number;
  /** Live streams of this process (20,000); `UNAVAILABLE`. */
  readonly streams?: number;
  /**
   * Live streams of one client address, or of one network of IPv6 with a prefix of 64 bits (64), as determined by
   * `trustProxy`; `RATE_LIMITED`.
   */
  readonly streamsPerAddress?: number;
  /** Queries of one live stream (256); `PAYLOAD_TOO_LARGE`. */
  readonly queriesPerStream?: number;
  /** How often the context of a live stream is created again without other cause, in milliseconds (60,000). */
  readonly contextRefreshMs?: number;
  /**
   * How long the result cache keeps the result of a call, and of a live query after its last subscriber has left (60 s).
   * With 0 it keeps neither.
   */
  readonly idleQueryMs?: number;
  /** The size of those results together (64 MiB); beyond, those that are cheap to compute for their size are dropped. */
  readonly resultCacheBytes?: number;
  /** How long a call waits for a connection to Postgres, in milliseconds (5,000); `UNAVAILABLE`. */
  readonly connectionMs?: number;
  /** The largest size of a request's headers together, in bytes (64 KiB); `PAYLOAD_TOO_LARGE` with status 431. */
  readonly headerBytes?: number;
  /** The largest size of the static files together, in bytes (256 MiB); the server does not start. */
  readonly staticBytes?: number;
  /** The number of static files (20,000); the server does not start. */
  readonly staticFiles?: number;
  /** How long a client may go without reading any of the data sent to it, in milliseconds (60,000). */
  readonly slowReaderMs?: number;
  /**
   * The interval for reading the change log while there are live queries, besides each notification, in milliseconds (100).
   */
  readonly pollMs?: number;
  /** The interval for polling a table without Convoy's triggers, in milliseconds (5,000). */
  readonly untrackedPollMs?: number;
  /** The interval for checking that the triggers exist, in milliseconds (15,000). */
  readonly triggerCheckMs?: number;
  /** How long a client may take to send its headers, in milliseconds (10,000). */
  readonly headerMs?: number;
  /**
   * How long a client may take to send its body, in milliseconds (30,000); to a route, how long it may send less than 1 KiB
   * per second; `TIMEOUT`.
   */
  readonly bodyMs?: number;
  /** The interval of heartbeat comments on an idle stream, in milliseconds (15,000). */
  readonly heartbeatMs?: number;
}

/** The form of the log: lines for people, or one JSON object per line. */
export type LogFormat = 'pretty' | 'json';

/** What the OpenAPI document says about the application. */
export interface OpenApiOptions {
  /** The name of the application. */
  readonly title?: string;
  /** The version of the application. */
  readonly version?: string;
  /** The URLs of the servers, without the base path. */
  readonly servers?: readonly string[];
}

/** The headers by which browsers protect responses. */
export interface SecurityHeaders {
  /**
   * The header `Strict-Transport-Security` of all responses (none): set it if browsers reach the server by HTTPS only, such
   * as `'max-age=31536000; includeSubDomains'`. It is left out where a trusted proxy reports plain HTTP.
   */
  readonly hsts?: string;
  /** Changes the headers of the API: a value adds or replaces a header, `null` leaves it out. */
  readonly api?: Readonly<Record<string, string | null>>;
  /**
   * The same for the headers of static files, and of HTML that a route returns. A header that the route sets itself
   * stays.
   */
  readonly pages?: Readonly<Record<string, string | null>>;
}

/** Options of the engine, independent of the program. */
export interface EngineOptions {
  /** `postgres://user:password@host/database`. */
  readonly databaseUrl: string;
  /** Whether to create the database if the server does not have it (false). */
  readonly createDatabase?: boolean;
  /** Limits that differ from the defaults. */
  readonly limits?: ConvoyLimits;
  /**
   * How often one caller may call functions and send requests to HTTP routes, all of them together (no limit). The
   * `rateLimit` of a function holds besides. `RATE_LIMITED`.
   */
  readonly rateLimit?: RateLimit;
  /** Connections to Postgres. */
  readonly poolSize?: number;
  /** The prefix of Convoy's paths (`/api`). */
  readonly basePath?: string;
  /**
   * The trusted proxies in front of the server (none): `true` for one, the number of proxies, or the addresses and networks
   * of all of them, such as `['10.0.0.0/8']`. The client's address is then the last one in `X-Forwarded-For` that is not a
   * proxy's, and the requested host is `X-Forwarded-Host`, if present. `false` says that clients connect directly, which a
   * program with rate limits needs to know.
   */
  readonly trustProxy?: boolean | number | readonly string[];
  /**
   * Whether to serve the OpenAPI document of the public functions, to everyone, at `/api/openapi.json` (in development
   * only).
   */
  readonly openapi?: boolean | OpenApiOptions;
  /**
   * A folder with a built front end, such as `./dist`: the listener of Convoy serves its files beside the base path, and
   * its `index.html` for the paths of the application's router. Its files are read once, at start.
   */
  readonly static?: string;
  /** Other origins that may call this server (none). */
  readonly cors?: CorsOptions;
  /** The headers by which browsers protect responses, where they differ from the defaults. */
  readonly securityHeaders?: SecurityHeaders;
  /**
   * The name of the program among those on the same database and base path (`default`). A development server that
   * evaluates modules again calls `createConvoy` again: it then loads the code into the Convoy that runs under this name,
   * and returns that. This is done if `NODE_ENV` is `development`, and with a given name unless it is `production`.
   */
  readonly programKey?: string;
  /** Development mode: sends messages and stacks of unexpected errors to the client, and warns about likely mistakes. */
  readonly dev?: boolean;
  /**
   * Whether loading creates missing tables and indexes (true). It never drops anything. `false` creates only Convoy's own
   * schema, and reports what is missing. `'require'` changes nothing, and rejects if anything is missing; `'inspect'`
   * changes nothing, and rejects only without Convoy's own schema.
   */
  readonly sync?: boolean | 'require' | 'inspect';
  /**
   * The number of worker threads that run functions (1 with `program`), so that a stuck thread can be replaced. 0 runs
   * functions on the thread that calls `createConvoy`, as for functions passed as values.
   */
  readonly workers?: number;
  /** Whether stacks in the log name source files, where the code has source maps (as `dev`). Only on worker threads. */
  readonly sourceMaps?: boolean;
  /** The limits of each worker thread, as in Node: `{ maxOldGenerationSizeMb: 512 }`. */
  readonly resourceLimits?: ResourceLimits;
  /** Metrics, traces and logs for Prometheus and OpenTelemetry (as the environment says; without it, none). */
  readonly telemetry?: TelemetryOptions;
  /**
   * Called when calls end, live queries run, connections open and close, and more; see `ConvoyEvent`. It delays nothing: if
   * it is slow, it gets fewer events.
   */
  readonly onEvent?: OnEvent;
  /** The form of the log of this process (`CONVOY_LOG_FORMAT`, or `pretty`). */
  readonly logFormat?: LogFormat;
}
