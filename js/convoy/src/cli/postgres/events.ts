/** The events of the embedded Postgres, and their descriptions for the developer. */
export type PostgresEvent =
  /** The binaries are being copied to a folder that Postgres' user can enter. */
  | { readonly kind: 'copying'; readonly folder: string }
  /** A new cluster is being created. */
  | { readonly kind: 'creating'; readonly folder: string }
  | { readonly kind: 'starting'; readonly port: number }
  /** Postgres was not shut down properly last time and is replaying its WAL. */
  | { readonly kind: 'recovering' }
  /** The port of the previous start is in use by another program. */
  | { readonly kind: 'moved'; readonly from: number; readonly to: number }
  /** Waiting for the end of a Postgres whose parent was killed, or that is shutting down. */
  | { readonly kind: 'clearing'; readonly pid: number }
  /** `shared`: another process of this project started it and will stop it. */
  | { readonly kind: 'ready'; readonly pid: number; readonly port: number; readonly shared: boolean }
  /** Postgres ended without a request of this process; `shared` is the value from before. */
  | { readonly kind: 'exited'; readonly pid: number; readonly shared: boolean; readonly detail: string }
  | { readonly kind: 'restarting'; readonly attempt: number; readonly inMs: number }
  /** A restart failed; another one follows. */
  | { readonly kind: 'restart failed'; readonly attempt: number; readonly detail: string }
  | { readonly kind: 'stopping' }
  | { readonly kind: 'stopped' };

/** The event as one sentence without a full stop. */
export function describePostgresEvent(event: PostgresEvent): string {
  switch (event.kind) {
    case 'copying':
      return `copying the Postgres binaries to ${event.folder}`;
    case 'creating':
      return `creating a database cluster in ${event.folder}`;
    case 'starting':
      return `starting Postgres on port ${event.port}`;
    case 'recovering':
      return 'Postgres was not shut down properly last time; it is recovering';
    case 'moved':
      return `port ${event.from} is in use by another program; Postgres moves to ${event.to}`;
    case 'clearing':
      return `waiting for an earlier Postgres (pid ${event.pid}) to end`;
    case 'ready':
      return event.shared
        ? `using the Postgres that another convoy of this project runs (pid ${event.pid}, port ${event.port})`
        : `Postgres is ready (pid ${event.pid}, port ${event.port})`;
    case 'exited':
      return `Postgres (pid ${event.pid}) ended${event.shared ? '' : ' unexpectedly'}: ${event.detail}`;
    case 'restarting':
      return event.inMs === 0 ? 'restarting Postgres' : `restarting Postgres in ${event.inMs} ms`;
    case 'restart failed':
      return `Postgres did not start (attempt ${event.attempt}): ${event.detail}`;
    case 'stopping':
      return 'stopping Postgres';
    case 'stopped':
      return 'Postgres has stopped';
  }
}
