/** Bundles one file of the project, with what it imports from the project, into a module that Node can import. */
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { BuildFailure } from 'esbuild';
import type { ProjectLayout } from '../options.js';
import { build } from './esbuild.js';
import { CodeProblem } from './problem.js';
import { externalPackages } from './resolve.js';

/** Resolves to the module's file. Throws a CodeProblem for every error that the bundler reports. */
export async function bundleFile(layout: ProjectLayout, file: string): Promise<string> {
  const result = await build({
    absWorkingDir: layout.root,
    entryPoints: [file],
    write: false,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    sourcemap: 'inline',
    logLevel: 'silent',
    plugins: [externalPackages(layout)],
  }).catch((failure: BuildFailure) => {
    if (!Array.isArray(failure.errors)) throw failure;
    const diagnostics = failure.errors.map(({ text, location }) => ({ text, location }));
    throw new CodeProblem(diagnostics, { cause: failure });
  });
  const [code] = result.outputFiles;
  if (code === undefined) throw new Error('esbuild returned no code.');
  const hash = createHash('sha256').update(code.contents).digest('hex').slice(0, 16);
  await mkdir(layout.buildFolder, { recursive: true });
  // Bare imports resolve from the folder of the project.
  const bundled = path.join(layout.buildFolder, `${hash}.${path.parse(file).name}.mjs`);
  await writeFile(bundled, code.text);
  return bundled;
}
