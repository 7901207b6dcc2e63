import { defineConfig } from 'vitest/config';

// Runs the compiler, and needs no database.
export default defineConfig({
  test: {
    environment: 'node',
    include: ['**/*.test.{ts,mjs}'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
