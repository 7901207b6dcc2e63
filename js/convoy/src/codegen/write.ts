/**
 * Writes generated files: only those whose text differs, so that watchers and compilers see only real changes, and
 * each at once, so that nobody reads half of one. Files that only an earlier version wrote are deleted; all others in the
 * folder are left alone.
 */
import { mkdir, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { GeneratedFiles } from './project.js';
import { removeStale, textOf } from './stale.js';

/** What became of the folder: names of files, in order. */
interface Written {
  readonly written: readonly string[];
  readonly removed: readonly string[];
}

/** Brings the folder up to date. */
export async function writeGenerated(folder: string, files: GeneratedFiles): Promise<Written> {
  await mkdir(folder, { recursive: true });
  const written: string[] = [];
  for (const [name, text] of files) {
    const file = path.join(folder, name);
    if ((await textOf(file)) === text) continue;
    // A dotfile, which everything that looks for functions ignores.
    const draft = path.join(folder, `.${name}.${process.pid}`);
    await writeFile(draft, text);
    await rename(draft, file);
    written.push(name);
  }
  return { written, removed: await removeStale(folder, new Set(files.keys())) };
}
