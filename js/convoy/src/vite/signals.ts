/**
 * Ctrl-C and a closed terminal: Vite handles neither, and would end while Convoy still stops. The first signal waits for
 * Convoy, a later one ends the process at once.
 */
import { constants } from 'node:os';

const SIGNALS = ['SIGINT', 'SIGHUP'] as const;

/** Ctrl-C reaches a program once from the terminal and once from the npm that runs it. */
const SAME_SIGNAL_MS = 500;

/** Until the returned function is called, a signal runs `stop` and then ends the process. */
export function stopOnSignals(stop: () => Promise<void>): () => void {
  let stoppingSince: number | null = null;
  const onSignal = (signal: (typeof SIGNALS)[number]) => {
    // A program that handles the signal itself decides when it ends; it closes Vite's server, which stops Convoy.
    if (process.listenerCount(signal) > 1) return;
    const exit = () => process.exit(128 + constants.signals[signal]);
    if (stoppingSince === null) {
      stoppingSince = performance.now();
      void stop().finally(exit);
    } else if (performance.now() - stoppingSince > SAME_SIGNAL_MS) {
      exit();
    }
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  return () => {
    for (const signal of SIGNALS) process.off(signal, onSignal);
  };
}
