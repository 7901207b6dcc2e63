/** Ctrl-C and its relatives: the first asks to stop, the second does not ask. The engine hears them, whatever runs here. */
import { loadNative } from '../../server/native.js';

/** Resolves with the first signal. The second ends the process at once; the embedded Postgres sees that by itself. */
export function listenForSignals(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => loadNative().handleSignals(resolve));
}
