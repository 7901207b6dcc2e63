/**
 * Writes generated files: only those whose text differs, so that watchers and compilers see only real changes, and
 * each at once, so that nobody reads half of one. Other files in the folder are left alone.
 */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { GeneratedFiles } from './project.js';

/** Resolves to the names of the files that were written, in order. */
export async function writeGenerated(folder: string, files: GeneratedFiles): Promise<string[]> {
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
  return written;
}

async function textOf(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
}
