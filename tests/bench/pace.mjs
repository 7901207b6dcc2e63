// How much is measured, and for how long.

export const FULL = {
  rows: 100_000,
  probe: { alone: 20, together: 256, connections: { usual: 32, transfers: 64 } },
  // Several short runs rather than a few long ones: what else the machine does
  // meanwhile then meets all contestants, and the median leaves the worst out.
  requests: { rounds: 7, warmMs: 150, measureMs: 600, connections: { usual: 32, transfers: 64 } },
  live: { subscribers: 1_000, queries: 100, writes: 100, writesPerSecond: 20, leaveOut: 20 },
  longestMs: 480_000,
};

/** Shows that everything works, and says nothing of speed. */
export const QUICK = {
  rows: 2_000,
  probe: { alone: 5, together: 16, connections: { usual: 4, transfers: 8 } },
  requests: { rounds: 1, warmMs: 50, measureMs: 200, connections: { usual: 8, transfers: 16 } },
  live: { subscribers: 100, queries: 10, writes: 20, writesPerSecond: 20, leaveOut: 5 },
  longestMs: 60_000,
};
