/**
 * Builds the folder that `convoy start` runs. It needs Node and `@avvos/convoy` with its peer `zod`; every other package
 * is bundled. The same sources and packages give the same bytes.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { isBuiltin } from 'node:module';
import path from 'node:path';
import type { ConvoyConfig } from '../../server/config.js';
import type { ProjectLayout } from '../options.js';
import { version } from '../version.js';
import { type Bundle, bundleProject } from './bundle.js';
import { compileProject } from './compile.js';
import { bundleConfig, findConfig } from './config-file.js';
import { inspectOnThread } from './inspect.js';
import { type BuildManifest, CONFIG_FILE, MANIFEST_FILE, PROGRAM_FILE } from './manifest.js';
import { CodeProblem } from './problem.js';
import { writeProgram } from './program-file.js';
import { externalNames } from './resolve.js';

export interface ProductionBuild {
  readonly folder: string;
  readonly manifest: BuildManifest;
  /** Bytes by file. */
  readonly sizes: Readonly<Record<string, number>>;
  /** Generated files that were written to `_generated`. */
  readonly written: readonly string[];
}

/** The packages that are never bundled: there must be one copy of each in the process. */
const SHARED_PACKAGES = ['@avvos/convoy', 'zod'];

/** Builds the project into `folder`, which it replaces. Throws a CodeProblem for errors in the user's code. */
export async function buildForProduction(
  layout: ProjectLayout,
  config: ConvoyConfig,
  folder: string,
): Promise<ProductionBuild> {
  await refuseForeignFolder(folder);
  const compiled = await compileProject(layout);
  await mkdir(path.dirname(folder), { recursive: true });
  const draft = await mkdtemp(`${folder}.new-`);
  // Not only for this user: the server may be another one.
  await chmod(draft, 0o755);
  try {
    const external = [...SHARED_PACKAGES, ...(config.build?.external ?? [])];
    const bundle = await bundleProject(layout, compiled.files, 'files', { folder: draft, name: 'code', external });
    // A bundled package may fail where it worked before: by its location, or by a native addon.
    const code = await inspectOnThread(bundle, compiled.files, layout).catch((error: unknown) => {
      throw withBundlingAdvice(error);
    });
    await writeProgram(bundle, code, compiled.files, layout, path.join(draft, PROGRAM_FILE));
    const configFile = findConfig(layout);
    if (configFile !== null) {
      const text = await bundleConfig(configFile, layout, [externalNames(external)]);
      await writeFile(path.join(draft, CONFIG_FILE), text);
    }
    const { functions, tables, schema } = code;
    const listed = functions.map(({ name, kind, internal }) => ({ name, kind, internal }));
    const files = await hashesOf(draft);
    const manifest: BuildManifest = {
      format: 1,
      convoy: version,
      hash: hash(JSON.stringify(files)).slice(0, 16),
      functions: listed.sort((a, b) => (a.name < b.name ? -1 : 1)),
      tables: tables.map(({ name }) => name).sort(),
      schema,
      external: importedPackages(bundle),
      files,
    };
    await writeFile(path.join(draft, MANIFEST_FILE), `${JSON.stringify(manifest, null, 2)}\n`);
    await writeFile(path.join(draft, '.gitignore'), '*\n');
    await rm(folder, { recursive: true, force: true });
    await rename(draft, folder);
    return { folder, manifest, sizes: await sizesOf(folder, Object.keys(files)), written: compiled.written };
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    throw error;
  }
}

/** Only a folder of an earlier build is replaced. */
async function refuseForeignFolder(folder: string): Promise<void> {
  if (!existsSync(folder) || existsSync(path.join(folder, MANIFEST_FILE))) return;
  if ((await readdir(folder)).length === 0) return;
  throw new Error(`${folder} has files that convoy build did not write. Choose another folder with --out.`);
}

function importedPackages({ importers }: Bundle): string[] {
  const names = [...importers.keys()].map((specifier) => /^(@[^/]+\/[^/]+|[^/]+)/.exec(specifier)?.[0] ?? specifier);
  return [...new Set(names.filter((name) => !isBuiltin(name)))].sort();
}

async function hashesOf(folder: string): Promise<Record<string, string>> {
  const names = (await readdir(folder)).sort();
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, hash(await readFile(path.join(folder, name)))] as const)),
  );
}

async function sizesOf(folder: string, names: readonly string[]): Promise<Record<string, number>> {
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, (await readFile(path.join(folder, name))).length] as const)),
  );
}

function hash(data: string | Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}

function withBundlingAdvice(error: unknown): unknown {
  if (!(error instanceof CodeProblem) || !/__(?:dir|file)name is not defined/.test(error.message)) return error;
  const advice =
    'A bundled package reads files beside its own code. List it under build.external in convoy.config.ts, and install ' +
    'it where the built code runs.';
  const diagnostics = error.diagnostics.map((each) => ({ ...each, notes: [...(each.notes ?? []), { text: advice }] }));
  return new CodeProblem(diagnostics, { cause: error });
}
