/**
 * Writes generated files: only those whose text differs, so that watchers and compilers see only real changes, and
 * atomically, so that no reader sees a partial file. Deletes files that only an earlier version wrote, and leaves all
 * others in the folder alone.
 */
import { mkdir, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { GeneratedFiles } from './project.js';
import { removeStale, textOf } from './stale.js';

/** The names of the files that were written and removed. */
interface Written {
  readonly written: readonly string[];
  readonly removed: readonly string[];
}

/** The files whose text in the folder differs. */
export async function outdatedFiles(folder: string, files: GeneratedFiles): Promise<string[]> {
  const names = [...files.keys()];
  const texts = await Promise.all(names.map((name) => textOf(path.join(folder, name))));
  return names.filter((name, at) => texts[at] !== files.get(name));
}

/** Brings the folder up to date. */
export async function writeGenerated(folder: string, files: GeneratedFiles): Promise<Written> {
  await mkdir(folder, { recursive: true });
  const written: string[] = [];
  for (const name of await outdatedFiles(folder, files)) {
    const file = path.join(folder, name);
    const text = files.get(name) ?? '';
    // A dotfile, which is ignored wherever function files are listed.
    const draft = path.join(folder, `.${name}.${process.pid}`);
    await writeFile(draft, text);
    await rename(draft, file);
    written.push(name);
  }
  return { written, removed: await removeStale(folder, new Set(files.keys())) };
}
