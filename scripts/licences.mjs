// Checks that the licence of every npm package lets people use Convoy for any
// purpose. Reads the lockfiles only. Crates are checked by cargo-deny.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { root, StepError } from './run.mjs';

const allowed = new Set([
  '0BSD',
  'Apache-2.0',
  'BlueOak-1.0.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'BSL-1.0',
  'CC0-1.0',
  'CC-BY-4.0',
  'CDLA-Permissive-2.0',
  'ISC',
  'MIT',
  'MIT-0',
  'MPL-2.0',
  'Python-2.0',
  'Unicode-3.0',
  'Unlicense',
  'Zlib',
]);

/** Packages whose manifest has the field `licenses` of old versions of npm, which lockfiles leave out. */
const inOldField = new Map([
  ['busboy@1.6.0', 'MIT'],
  ['streamsearch@1.1.0', 'MIT'],
]);

/** Throws with the names of all packages whose licence is not allowed; returns the number of packages. */
export async function checkLicences() {
  const packages = await npmPackages();
  const refused = packages.filter(({ licence }) => !permits(licence));
  if (refused.length > 0) {
    const list = refused.map(({ name, licence }) => `  ${name}: ${licence || 'no licence given'}`).join('\n');
    throw new StepError(`These packages have licences that are not allowed:\n${list}`);
  }
  return packages.length;
}

/** Whether the allowed licences satisfy an SPDX expression. `or` needs one side, `and` both. */
export function permits(expression) {
  const plain = expression.replaceAll(/[()]/g, ' ').replaceAll('/', ' OR ').trim();
  // Ignores parentheses in mixed expressions: stricter than SPDX, never laxer.
  return plain
    .split(/\s+AND\s+/i)
    .every((part) =>
      part.split(/\s+OR\s+/i).some((name) => allowed.has(name.trim().replace(/\s+WITH\s+LLVM-exception$/i, ''))),
    );
}

/** Those of the repository, and those of the documentation site. */
async function npmPackages() {
  return (await Promise.all(['package-lock.json', 'docs/site/package-lock.json'].map(packagesIn))).flat();
}

async function packagesIn(lockfile) {
  const { packages } = JSON.parse(await readFile(join(root, lockfile), 'utf8'));
  const entries = Object.entries(packages).filter(([path, entry]) => path.startsWith('node_modules/') && !entry.link);
  return entries.map(([path, entry]) => {
    const name = `${path.replace(/^.*node_modules\//, '')}@${entry.version}`;
    return { name, licence: entry.license ?? inOldField.get(name) ?? '' };
  });
}
