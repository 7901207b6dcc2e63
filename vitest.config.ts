import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    // More files than cores: most wait for Postgres, a browser, another process or a limit for half of their time.
    maxWorkers: Math.min(availableParallelism() + 1, 16),
    projects: [
      'js/convoy',
      'js/convoy-auth',
      'js/create-convoy-app',
      'examples/auth',
      'examples/chat',
      'tests',
      'type-tests',
    ],
  },
});
