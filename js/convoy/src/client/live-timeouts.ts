/** How long the live connection waits for its server. */

export interface LiveTimeouts {
  /**
   * The server sends a heartbeat every 15 s. Two missed heartbeats and some grace mean that the connection is dead,
   * even if TCP still considers it open. A change not acknowledged in this time means the same.
   */
  readonly silenceMs: number;
  /** A link not accepted in this time is blocked, possibly by the browser's limit of connections. */
  readonly acceptMs: number;
  /** A session not opened this long after its stream was accepted is buffered by a proxy. */
  readonly sessionMs: number;
}

export const LIVE_TIMEOUTS: LiveTimeouts = { silenceMs: 40_000, acceptMs: 10_000, sessionMs: 3_000 };
/** After a sleep, silence longer than one heartbeat is enough: timers stop while the machine sleeps. */
export const SILENCE_ON_RETURN_MS = 20_000;
/** How often silence is checked. A check that is much later shows that the machine has slept. */
export const CHECK_MS = 5_000;
