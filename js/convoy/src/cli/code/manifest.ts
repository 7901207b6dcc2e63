/** The manifest of built code: what a folder of `convoy build` contains, and whether this version can run it. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { FunctionKind } from '../../server/functions.js';
import { version } from '../version.js';

export const MANIFEST_FILE = 'manifest.json';
export const PROGRAM_FILE = 'program.mjs';
export const CODE_FILE = 'code.mjs';
export const CONFIG_FILE = 'config.mjs';

export interface BuildManifest {
  readonly format: 1;
  /** The version of the package that built it. */
  readonly convoy: string;
  /** Identifies the code: equal hashes mean equal files. */
  readonly hash: string;
  readonly functions: readonly { readonly name: string; readonly kind: FunctionKind; readonly internal: boolean }[];
  readonly tables: readonly string[];
  /** The description of the schema, for the engine. */
  readonly schema: unknown;
  /** Packages that the code imports. */
  readonly external: readonly string[];
  /** SHA-256 by file name. */
  readonly files: Readonly<Record<string, string>>;
}

/** Reads the manifest of built code. Throws with what to do if there is none, or if another version built it. */
export async function readManifest(folder: string): Promise<BuildManifest> {
  const file = path.join(folder, MANIFEST_FILE);
  if (!existsSync(file)) {
    throw new Error(`There is no built code in ${folder}. Run \`npx convoy build\`, or name the folder with --build.`);
  }
  const manifest = JSON.parse(await readFile(file, 'utf8')) as BuildManifest;
  if (manifest.format !== 1 || minor(manifest.convoy) !== minor(version)) {
    throw new Error(
      `${folder} was built by @avvos/convoy ${manifest.convoy}, and ${version} is installed. Build it again with ` +
        '`npx convoy build`, or install that version.',
    );
  }
  for (const name of [PROGRAM_FILE, CODE_FILE]) {
    if (!existsSync(path.join(folder, name))) {
      throw new Error(`${folder} is incomplete: ${name} is missing. Copy the whole folder, or build it again.`);
    }
  }
  return manifest;
}

/** `0.1` of `0.1.2`: within it, built code runs on each version. */
function minor(text: string): string {
  return text.split('.').slice(0, 2).join('.');
}
