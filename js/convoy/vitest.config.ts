import { defineConfig } from 'vitest/config';

// Types are tested by `tsc --noEmit -p tsconfig.test.json`; here only what runs.
export default defineConfig({
  test: {
    environment: 'node',
    // Some start processes. A limit only turns a hang into a failure.
    testTimeout: 30_000,
    hookTimeout: 30_000,
    include: ['src/**/*.test.{ts,tsx}'],
  },
});
