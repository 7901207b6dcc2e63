import { defineConfig } from 'vitest/config';

// Real engine, real Postgres, real sockets: `npm test` names the server in CONVOY_TEST_DATABASE_URL. Waiting is for
// events; the time limits only turn a hang into a failure.
export default defineConfig({
  // The suite of TanStack DB is outside, and must use the same copy.
  resolve: { dedupe: ['@tanstack/db'] },
  test: {
    environment: 'node',
    include: ['**/*.test.{ts,mjs}'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
