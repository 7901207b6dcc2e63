/** What bundles contain of the devtools: the panel in development, as a file of its own, and nothing in production. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { build as esbuild } from 'esbuild';
import { type Rolldown, build as vite } from 'vite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const ENTRY = `
import { ConvoyDevtools } from '@avvos/convoy/react/devtools';
globalThis.rendered = ConvoyDevtools({});
`;

type Mode = 'production' | 'development';

let folder: string;
let entry: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(import.meta.dirname, 'devtools-bundle-'));
  entry = path.join(folder, 'entry.js');
  await writeFile(entry, ENTRY);
});
afterAll(() => rm(folder, { recursive: true }));

/** Each returns the texts of the files, the entry first. React is not part of them. */
const bundlers = {
  async esbuild(mode: Mode): Promise<string[]> {
    const { outputFiles } = await esbuild({
      entryPoints: [entry],
      outdir: folder,
      bundle: true,
      splitting: true,
      format: 'esm',
      write: false,
      external: ['react', 'react/jsx-runtime'],
      define: { 'process.env.NODE_ENV': JSON.stringify(mode) },
    });
    // The bundle of the entry first, and then its chunks.
    const isEntry = (file: string): boolean => path.parse(file).name === path.parse(entry).name;
    return outputFiles.sort((a, b) => Number(isEntry(b.path)) - Number(isEntry(a.path))).map(({ text }) => text);
  },
  async vite(mode: Mode): Promise<string[]> {
    const built = (await vite({
      configFile: false,
      root: folder,
      mode,
      logLevel: 'silent',
      define: { 'process.env.NODE_ENV': JSON.stringify(mode) },
      build: {
        write: false,
        minify: false,
        rolldownOptions: { input: entry, external: ['react', 'react/jsx-runtime'] },
      },
    })) as Rolldown.RolldownOutput;
    return built.output.flatMap((file) => (file.type === 'chunk' ? [file.code] : []));
  },
};

describe.each(Object.keys(bundlers) as (keyof typeof bundlers)[])('%s', (name) => {
  test('leaves the panel out of production', async () => {
    const texts = await bundlers[name]('production');
    expect(texts).toHaveLength(1);
    expect(texts[0]).not.toContain('Convoy devtools');
    expect(texts[0]?.length).toBeLessThan(1_500);
  });

  test('loads the panel in development when it is rendered', async () => {
    const [first, ...others] = await bundlers[name]('development');
    expect(first).not.toContain('Convoy devtools');
    expect(others.some((text) => text.includes('Convoy devtools'))).toBe(true);
  });
});
