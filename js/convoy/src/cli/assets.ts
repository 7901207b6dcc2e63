/** The static files of this package. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';

// From the folder of the program, in `dist/cli` and in the bundles of tests alike. Not a URL, which bundlers would resolve.
const folder = path.join(import.meta.dirname, '../../assets');

/** The text of a file in `assets/`. */
export function assetText(name: string): Promise<string> {
  return readFile(path.join(folder, name), 'utf8');
}
