// The sizes and durations of the measurements.

export const FULL = {
  rows: 100_000,
  probe: { alone: 20, together: 256, connections: { usual: 32, transfers: 64 } },
  // Many short runs rather than a few long ones: other load on the machine then affects
  // all contestants, and the median excludes the worst runs.
  requests: { rounds: 7, warmMs: 150, measureMs: 600, connections: { usual: 32, transfers: 64 } },
  // Long enough for the latencies of contended rows.
  relational: { warmMs: 300, measureMs: 1_000, connections: { usual: 32, transfers: 32 } },
  posts: { busy: 8_000, quiet: 100_000, list: 1_000 },
  live: {
    'live-each': { sizes: [100, 1_000], warmWrites: 3_000, writes: 350, writesPerSecond: 50, leaveOut: 50 },
    'live-one': { subscribers: 1_000, warmWrites: 3_000, writes: 120, writesPerSecond: 20, leaveOut: 20 },
    'live-beside': {
      levels: [0, 100, 1_000, 10_000, 100_000],
      each: { subscribers: 100, pace: { writes: 350, writesPerSecond: 50, leaveOut: 50 } },
      one: { subscribers: 1_000, pace: { writes: 120, writesPerSecond: 20, leaveOut: 20 } },
    },
    // Two heartbeats of each stream.
    'live-idle': {
      sharing: { streams: 10_000, channels: 100 },
      // So many that what the first runs leave in the heaps is a small part.
      own: { streams: 8_000, channels: 8_000 },
      restMs: 1_000,
      idleMs: 30_000,
    },
    'live-crowd': { rounds: 3, writers: 16, subscribers: 100, warmMs: 500, measureMs: 2_500 },
    'live-cached': { rounds: 5, warmMs: 300, measureMs: 600, connections: { usual: 32 } },
    'live-delta': { edits: 5 },
    'live-nodes': { subscribers: 100, writes: 120, writesPerSecond: 20, leaveOut: 20 },
  },
  timeoutMs: 2_400_000,
};

/** A smoke test: its speeds have no meaning. */
export const QUICK = {
  rows: 2_000,
  probe: { alone: 5, together: 16, connections: { usual: 4, transfers: 8 } },
  requests: { rounds: 1, warmMs: 50, measureMs: 200, connections: { usual: 8, transfers: 16 } },
  relational: { warmMs: 50, measureMs: 200, connections: { usual: 8, transfers: 8 } },
  posts: { busy: 50, quiet: 500, list: 200 },
  live: {
    'live-each': { sizes: [20, 50], warmWrites: 20, writes: 30, writesPerSecond: 50, leaveOut: 10 },
    'live-one': { subscribers: 50, warmWrites: 20, writes: 20, writesPerSecond: 20, leaveOut: 5 },
    'live-beside': {
      levels: [0, 10, 500],
      each: { subscribers: 20, pace: { writes: 30, writesPerSecond: 50, leaveOut: 10 } },
      one: { subscribers: 50, pace: { writes: 15, writesPerSecond: 20, leaveOut: 5 } },
    },
    'live-idle': {
      sharing: { streams: 500, channels: 50 },
      own: { streams: 50, channels: 50 },
      restMs: 100,
      idleMs: 500,
    },
    'live-crowd': { rounds: 1, writers: 4, subscribers: 20, warmMs: 100, measureMs: 400 },
    'live-cached': { rounds: 1, warmMs: 50, measureMs: 200, connections: { usual: 8 } },
    'live-delta': { edits: 2 },
    'live-nodes': { subscribers: 20, writes: 20, writesPerSecond: 20, leaveOut: 5 },
  },
  timeoutMs: 300_000,
};
