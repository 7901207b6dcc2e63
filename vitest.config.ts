import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    projects: ['js/convoy', 'js/create-convoy-app', 'examples/chat', 'tests', 'type-tests'],
  },
});
