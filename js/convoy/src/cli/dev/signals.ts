/** Ctrl-C and its relatives: the first asks to stop, the second does not ask. */
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * One Ctrl-C can arrive several times: the terminal sends it to everyone, and npm and its like pass it on. Nobody
 * presses it twice as fast as this.
 */
const onePressMs = 400;

export interface ToldToStop {
  /** Resolves with the first signal. */
  readonly told: Promise<NodeJS.Signals>;
  /** Gives the signals back to Node. */
  forget(): void;
}

/** The second signal ends the process at once; the embedded Postgres sees that by itself. */
export function listenForSignals(): ToldToStop {
  let resolve: (signal: NodeJS.Signals) => void;
  let firstAt: number | null = null;
  const told = new Promise<NodeJS.Signals>((resolved) => {
    resolve = resolved;
  });
  const hear = (signal: NodeJS.Signals) => {
    if (firstAt === null) {
      firstAt = performance.now();
      resolve(signal);
    } else if (performance.now() - firstAt > onePressMs) {
      process.exit(130);
    }
  };
  for (const signal of signals) process.on(signal, hear);
  return {
    told,
    forget: () => {
      for (const signal of signals) process.off(signal, hear);
    },
  };
}
