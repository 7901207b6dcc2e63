import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    // Vitest leaves one core free; most files wait for Postgres, a browser or another process for much of their time.
    maxWorkers: '100%',
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
