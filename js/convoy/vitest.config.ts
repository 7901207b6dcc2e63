import { defineConfig } from 'vitest/config';

// Types are tested by `tsc --noEmit -p tsconfig.test.json`; here only what runs.
export default defineConfig({
  test: {
    environment: 'node',
    include: ['src/**/*.test.{ts,tsx}'],
  },
});
