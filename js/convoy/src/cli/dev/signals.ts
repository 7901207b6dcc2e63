/**
 * SIGINT, SIGTERM and SIGHUP: the first signal stops gracefully, the second at once. The engine handles them, so they
 * work while JavaScript is blocked.
 */
import { loadNative } from '../../server/native.js';

/**
 * Resolves with the first signal. The second ends the process at once; the guardian then stops the embedded Postgres.
 * Throws if there is no engine.
 */
export function listenForSignals(): Promise<NodeJS.Signals> {
  const native = loadNative();
  return new Promise((resolve) => native.handleSignals(resolve));
}
