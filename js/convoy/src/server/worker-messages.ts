/** What the thread that opened an engine and its workers say to each other. Calls do not come this way. */

/** What a worker is started with. */
export interface WorkerSettings {
  /** The engine's number, to attach by. */
  readonly engine: number;
  readonly sync: boolean;
  readonly dev: boolean;
}

export type ToWorker =
  /** Import a program and join its pool. */
  | { readonly type: 'load'; readonly number: number; readonly address: string }
  /** The engine has it: inserts into these tables may wait. */
  | { readonly type: 'loaded'; readonly number: number; readonly holdsInserts: readonly string[] };

export type FromWorker =
  /** It has joined the pool. */
  | { readonly type: 'joined'; readonly number: number; readonly description: string }
  | { readonly type: 'failed'; readonly number: number; readonly message: string; readonly stack: string | undefined };
