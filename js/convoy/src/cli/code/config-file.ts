/** Loads `convoy.config.ts`. It is bundled like the functions, so that it can import files of the project. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Plugin } from 'esbuild';
import { type ConvoyConfig, checkConfig } from '../../server/config.js';
import type { ProjectLayout } from '../options.js';
import { asCodeProblem } from './bundle.js';
import { build } from './esbuild.js';
import { externalPackages } from './resolve.js';

const NAMES = ['convoy.config.ts', 'convoy.config.mts', 'convoy.config.js', 'convoy.config.mjs'];

/** The configuration file of the project, or `null`. */
export function findConfig({ root }: ProjectLayout): string | null {
  return NAMES.map((name) => path.join(root, name)).find((file) => existsSync(file)) ?? null;
}

/** The settings of the project; `{}` without a file. Throws a CodeProblem for errors in the file. */
export async function loadConfig(layout: ProjectLayout): Promise<ConvoyConfig> {
  const source = findConfig(layout);
  if (source === null) return {};
  const text = await bundleConfig(source, layout, [externalPackages(layout)]);
  const hash = createHash('sha256').update(text).digest('hex').slice(0, 16);
  const file = path.join(layout.buildFolder, `config-${hash}.mjs`);
  await mkdir(layout.buildFolder, { recursive: true });
  await writeFile(file, text);
  return importConfig(file, path.relative(layout.root, source));
}

/** Imports a bundled configuration; `name` is the file that errors name. */
export async function importConfig(file: string, name: string): Promise<ConvoyConfig> {
  const module = (await import(pathToFileURL(file).href)) as { readonly default?: unknown };
  return checkConfig(module.default, name);
}

/** The configuration as one module. */
export async function bundleConfig(file: string, layout: ProjectLayout, plugins: Plugin[]): Promise<string> {
  const result = await build({
    absWorkingDir: layout.root,
    entryPoints: [file],
    outfile: path.join(layout.buildFolder, 'config.mjs'),
    write: false,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    logLevel: 'silent',
    plugins,
  }).catch(asCodeProblem(layout));
  const [output] = result.outputFiles;
  if (output === undefined) throw new Error('esbuild returned no code.');
  return output.text;
}
