/** The frameworks of docs/frameworks.md: the files of their own that the page does not show, and their commands. */

const nextLayout = `export default function Layout({ children }: { children: React.ReactNode }) {
  return <html lang="en"><head><link rel="icon" href="data:," /></head><body>{children}</body></html>;
}
`;

/** A client component within `Suspense`, which the page of the documentation has not. */
const nextSuspended = `import { preloadQuery } from '@avvos/convoy/next';
import { Suspense } from 'react';
import { api } from '../../convoy/_generated/api';
import { convoy } from '../../convoy/convoy';
import { Notes } from '../notes';

export default async function Page() {
  const preloaded = await preloadQuery(api.notes.list, {}, { convoy });
  return <Suspense fallback={<p>Loading</p>}><Notes preloaded={preloaded} /></Suspense>;
}
`;

const svelteConfig = `import adapter from '@sveltejs/adapter-node';
import { sveltekit } from '@sveltejs/kit/vite';
import { defineConfig } from 'vite';

export default defineConfig({ plugins: [sveltekit({ adapter: adapter() })] });
`;

const sveltePage = `<!doctype html>
<html lang="en"><head>%sveltekit.head%</head><body><div>%sveltekit.body%</div></body></html>
`;

const tanstackConfig = `import { tanstackStart } from '@tanstack/react-start/plugin/vite';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

export default defineConfig({ plugins: [tanstackStart(), react()] });
`;

const tanstackRouter = `import { createRouter } from '@tanstack/react-router';
import { routeTree } from './routeTree.gen';

export const getRouter = () => createRouter({ routeTree });
`;

const tanstackRoot = `import { createRootRoute, HeadContent, Outlet, Scripts } from '@tanstack/react-router';

export const Route = createRootRoute({
  component: () => (
    <html lang="en"><head><HeadContent /><link rel="icon" href="data:," /></head><body><Outlet /><Scripts /></body></html>
  ),
});
`;

const tanstackTypes = JSON.stringify({
  compilerOptions: {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    jsx: 'react-jsx',
    target: 'es2023',
    module: 'esnext',
    moduleResolution: 'bundler',
    types: ['node'],
  },
});

/**
 * @typedef {object} Framework
 * @property {string} name
 * @property {string} section the heading of its section in the page
 * @property {string} oldestNode
 * @property {readonly string[]} packages
 * @property {Readonly<Record<string, string>>} files
 * @property {readonly string[]} build as all commands: a script, and its arguments
 * @property {readonly string[]} [types] checks types after a build
 * @property {readonly Served[]} served
 * @property {(port: string) => readonly string[]} dev
 * @property {readonly string[]} [preloading] the paths of pages that preload a query
 * @property {RegExp} [dynamic] what a build prints about a page that is rendered for each request
 */

/**
 * A way to serve a build.
 *
 * @typedef {object} Served
 * @property {string} name
 * @property {readonly string[]} [build] instead of the framework's
 * @property {string} [config] a file of the page that only this way needs
 * @property {string} [copied] the folder that is copied and served without the project
 * @property {readonly string[]} command gets the port in the environment
 * @property {RegExp} ready
 */

/** @type {readonly Framework[]} */
export const frameworks = [
  {
    name: 'Next.js 16',
    section: 'Next.js',
    oldestNode: '20.19.0',
    packages: ['next@16', 'react', 'react-dom', 'typescript', '@types/react', '@types/node'],
    // As create-next-app does; Next.js adds the rest of tsconfig.json.
    files: {
      'tsconfig.json': '{ "compilerOptions": { "strict": true } }\n',
      'app/layout.tsx': nextLayout,
      'app/suspended/page.tsx': nextSuspended,
    },
    preloading: ['/', '/suspended'],
    dynamic: /ƒ \/\n[\s\S]*ƒ \/suspended\n/,
    build: ['node_modules/next/dist/bin/next', 'build'],
    served: [
      { name: 'next start', command: ['node_modules/next/dist/bin/next', 'start'], ready: /Ready in/ },
      {
        name: 'next start, from a build by webpack',
        build: ['node_modules/next/dist/bin/next', 'build', '--webpack'],
        command: ['node_modules/next/dist/bin/next', 'start'],
        ready: /Ready in/,
      },
      {
        name: "output: 'standalone'",
        config: 'next.config.mjs',
        copied: '.next/standalone',
        command: ['server.js'],
        ready: /Ready in/,
      },
    ],
    dev: (port) => ['node_modules/next/dist/bin/next', 'dev', '-p', port],
  },
  {
    name: 'Nuxt 4',
    section: 'Nuxt',
    oldestNode: '22.19.0',
    packages: ['nuxt@4', 'vue', 'vue-router', 'typescript'],
    files: { 'nuxt.config.ts': "export default defineNuxtConfig({ compatibilityDate: '2026-11-01' });\n" },
    build: ['node_modules/nuxt/bin/nuxt.mjs', 'build'],
    served: [{ name: '.output', copied: '.output', command: ['server/index.mjs'], ready: /Listening on/ }],
    dev: (port) => ['node_modules/nuxt/bin/nuxt.mjs', 'dev', '--no-fork', '--port', port],
  },
  {
    name: 'SvelteKit 3',
    section: 'SvelteKit',
    oldestNode: '22.17.0',
    packages: [
      '@sveltejs/kit@3',
      '@sveltejs/adapter-node',
      '@sveltejs/vite-plugin-svelte',
      'svelte',
      'vite',
      'typescript@6',
    ],
    files: {
      'vite.config.ts': svelteConfig,
      'src/app.html': sveltePage,
      'tsconfig.json': '{ "extends": "$app/tsconfig", "include": ["src", "convoy", "*"] }\n',
    },
    build: ['node_modules/vite/bin/vite.js', 'build'],
    served: [{ name: 'adapter-node', command: ['build/index.js'], ready: /Listening on/ }],
    dev: (port) => ['node_modules/vite/bin/vite.js', 'dev', '--port', port],
  },
  {
    name: 'TanStack Start 1',
    section: 'TanStack Start',
    oldestNode: '22.12.0',
    packages: [
      '@tanstack/react-start@1',
      '@tanstack/react-router@1',
      'react',
      'react-dom',
      'vite',
      '@vitejs/plugin-react',
      'srvx@1',
      'typescript',
      '@types/react',
      '@types/node',
    ],
    files: {
      'vite.config.ts': tanstackConfig,
      'src/router.tsx': tanstackRouter,
      'src/routes/__root.tsx': tanstackRoot,
      'tsconfig.json': tanstackTypes,
    },
    preloading: ['/'],
    build: ['node_modules/vite/bin/vite.js', 'build'],
    types: ['node_modules/typescript/bin/tsc', '-p', '.'],
    served: [
      {
        name: 'srvx',
        command: ['node_modules/srvx/bin/srvx.mjs', '--prod', '-s', '../client', 'dist/server/server.js'],
        ready: /Listening|Local|http:\/\//,
      },
    ],
    dev: (port) => ['node_modules/vite/bin/vite.js', 'dev', '--port', port],
  },
];
