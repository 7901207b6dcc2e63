import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
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
