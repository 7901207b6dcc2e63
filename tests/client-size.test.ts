/**
 * What the client adds to a page, minified and compressed: budgets of what is loaded at once, and a table of that and of
 * the parts that are loaded when they are first used. A budget may only be raised with a reason in the commit.
 */
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build, type Metafile, type Plugin } from 'esbuild';
import { expect, test } from 'vitest';

/** A page that loads these exports. */
const PAGES = {
  'useQuery and useMutation': `
    export { createConvoyClient } from '@avvos/convoy/client';
    export { ConvoyProvider, useMutation, useQuery } from '@avvos/convoy/react';`,
  'the client without a framework': `export { createConvoyClient } from '@avvos/convoy/client';`,
  'errors only': `export { ConvoyError, isConvoyError } from '@avvos/convoy/client';`,
  'useQuery, useMutation and usePaginatedQuery': `
    export { createConvoyClient } from '@avvos/convoy/client';
    export { ConvoyProvider, useMutation, usePaginatedQuery, useQuery } from '@avvos/convoy/react';`,
};

/** In bytes. */
const BUDGETS: Readonly<Record<keyof typeof PAGES, number>> = {
  'useQuery and useMutation': 15_550,
  'the client without a framework': 14_300,
  'errors only': 600,
  'useQuery, useMutation and usePaginatedQuery': 17_750,
};

/** Parts that a page loads when it first needs them; each is out of the pages above. */
const LATER = [
  'mutations',
  'socket-link',
  'polling-link',
  'optimistic-layers',
  'persisted-mutations',
  'cached-transport',
];

test.each(Object.entries(PAGES))('%s', async (name, exports) => {
  const { bytes, inputs } = await bundle(exports);
  console.info(`${name}: ${(bytes / 1000).toFixed(1)} KB`);
  expect(bytes).toBeLessThanOrEqual(BUDGETS[name as keyof typeof PAGES]);
  for (const part of LATER) expect(inputs.filter((input) => input.endsWith(`/${part}.js`))).toEqual([]);
});

test('the parts that are loaded later exist, and their sizes are known', async () => {
  for (const part of LATER) {
    const { bytes } = await bundle(`export * from '@avvos/convoy/client/${part}';`);
    console.info(`${part}, with what it shares with the page: ${(bytes / 1000).toFixed(1)} KB`);
    expect(bytes).toBeGreaterThan(300);
  }
});

async function bundle(contents: string): Promise<{ bytes: number; inputs: string[] }> {
  const { outputFiles, metafile } = await build({
    stdin: { contents, resolveDir: import.meta.dirname },
    bundle: true,
    write: false,
    minify: true,
    format: 'esm',
    target: 'es2022',
    external: ['react'],
    define: { 'process.env.NODE_ENV': '"production"' },
    metafile: true,
    plugins: [loadedLater, partsOfTheClient],
  });
  const [output] = Object.values((metafile as Metafile).outputs);
  return {
    bytes: gzipSync(outputFiles[0]?.contents ?? '', { level: 9 }).length,
    inputs: Object.keys(output?.inputs ?? {}),
  };
}

/** Bundlers make a file of each dynamic import. */
const loadedLater: Plugin = {
  name: 'loaded later',
  setup: ({ onResolve }) => {
    onResolve({ filter: /./ }, ({ kind, path }) => (kind === 'dynamic-import' ? { path, external: true } : undefined));
  },
};

const partsOfTheClient: Plugin = {
  name: 'parts of the client',
  setup: ({ onResolve }) => {
    onResolve({ filter: /^@avvos\/convoy\/client\// }, ({ path }) => ({
      path: join(import.meta.dirname, '../js/convoy/dist/client', `${path.split('/').at(-1)}.js`),
    }));
  },
};
