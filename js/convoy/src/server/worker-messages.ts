/** What the thread that opened an engine and its workers say to each other. Calls do not come this way. */

/** What a worker is started with: one program, which it runs until it ends. */
export interface WorkerSettings {
  /** The engine's number, to attach by. */
  readonly engine: number;
  /** The program's, to join its pool by. */
  readonly number: number;
  /** Where it is imported from. */
  readonly address: string;
  readonly sync: boolean;
  readonly dev: boolean;
  /** The largest result. */
  readonly resultBytes: number;
}

/** The engine has the program: inserts into these tables may wait. */
export interface ToWorker {
  readonly holdsInserts: readonly string[];
}

export type FromWorker =
  /** It has joined the pool. */
  | { readonly type: 'joined'; readonly description: string }
  | { readonly type: 'failed'; readonly message: string; readonly stack: string | undefined }
  /** It is about to end by an error nobody caught, in what this function has left behind. */
  | { readonly type: 'failing'; readonly fn: string; readonly origin: string };
