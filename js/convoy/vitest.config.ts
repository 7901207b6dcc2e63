import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { compile } from 'svelte/compiler';
import { defineConfig } from 'vitest/config';

const require = createRequire(import.meta.url);
const solid = dirname(require.resolve('solid-js/package.json'));
const svelte = dirname(require.resolve('svelte/package.json'));

// Types are tested by `tsc --noEmit -p tsconfig.test.json`; here only what runs.
export default defineConfig({
  plugins: [
    {
      name: 'svelte',
      transform: (code, id) => (id.endsWith('.svelte') ? compile(code, { filename: id, generate: 'client' }).js : null),
    },
  ],
  test: {
    environment: 'node',
    // Some start processes. A limit only turns a hang into a failure.
    testTimeout: 30_000,
    hookTimeout: 30_000,
    include: ['src/**/*.test.{ts,tsx}'],
    // Node resolves Solid and Svelte to their builds for servers; these tests render as a browser does.
    alias: [
      { find: /^solid-js$/, replacement: join(solid, 'dist/solid.js') },
      { find: /^solid-js\/web$/, replacement: join(solid, 'web/dist/web.js') },
      { find: /^svelte$/, replacement: join(svelte, 'src/index-client.js') },
      { find: /^svelte\/reactivity$/, replacement: join(svelte, 'src/reactivity/index-client.js') },
      { find: /^svelte\/store$/, replacement: join(svelte, 'src/store/index-client.js') },
    ],
    server: { deps: { inline: [/\/node_modules\/(solid-js|svelte)\//] } },
  },
});
