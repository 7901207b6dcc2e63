/** The messages between the thread that opened the engine and its workers. Calls are not among them. */

/** The `workerData` of a worker thread. */
export interface WorkerSettings {
  /** The number by which the thread attaches to the engine. */
  readonly engine: number;
  readonly sync: boolean;
  readonly dev: boolean;
  /** Whether stacks name source files. */
  readonly sourceMaps: boolean;
  /** Whether internal functions are described as public, in an engine that does not listen. */
  readonly onlyLocal: boolean;
  /** The maximum size of a result. */
  readonly resultBytes: number;
}

/** The program of a thread. */
export interface WorkerProgram {
  /** The number of the program, by which the thread joins its pool. */
  readonly number: number;
  /** The address from which the program is imported. */
  readonly address: string;
}

export type ToWorker =
  /** Import this module, which a program that follows imports as well. */
  | { readonly type: 'preload'; readonly address: string }
  /** Import this module, and call its default export, which must not throw. Before the program, once. */
  | { readonly type: 'evaluate'; readonly address: string; readonly argument: unknown }
  /** Import the program, and join its pool. Sent once. */
  | ({ readonly type: 'run' } & WorkerProgram)
  /** The engine has loaded the program: inserts into these tables may be held. */
  | { readonly type: 'loaded'; readonly holdsWrites: readonly string[] };

export type FromWorker =
  /** The result of `evaluate`. */
  | { readonly type: 'evaluated'; readonly value: unknown }
  /** The thread has joined its pool. */
  | { readonly type: 'joined'; readonly description: string }
  | { readonly type: 'failed'; readonly message: string; readonly stack: string | undefined }
  /** The thread is about to end by an uncaught error or rejection in code started by this function. */
  | { readonly type: 'failing'; readonly fn: string; readonly origin: string };
