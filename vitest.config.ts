import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    projects: ['js/convoy', 'examples/chat', 'tests'],
  },
});
