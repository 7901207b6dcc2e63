/** The static files of this package. */
import { readFile } from 'node:fs/promises';

// Relative to the folder of the program, in `dist/cli` and in the bundles of tests alike.
const folder = new URL('../../assets/', import.meta.url);

/** The text of a file in `assets/`. */
export function assetText(name: string): Promise<string> {
  return readFile(new URL(name, folder), 'utf8');
}
