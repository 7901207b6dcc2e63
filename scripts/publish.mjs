// Publishes packed packages with provenance: those of all platforms, then @avvos/convoy,
// then the others. A version that is published already is left out, so that a run that
// failed half-way can be repeated.
//
//   node scripts/publish.mjs <folder> [--dry-run]
import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { manifestOfConvoy, packageNameOf, platforms } from './platform-packages.mjs';
import { run, StepError } from './run.mjs';

const exec = promisify(execFile);

/**
 * The order of publication of the tarballs in a folder. Throws if that of a platform is missing.
 *
 * @param {readonly string[]} files
 * @param {string} version
 */
export function publicationOrder(files, version) {
  const fileOf = (name) => `${name.replace('@', '').replace('/', '-')}-${version}.tgz`;
  const first = [...platforms.map(packageNameOf), '@avvos/convoy'].map(fileOf);
  const missing = first.filter((file) => !files.includes(file));
  if (missing.length > 0) throw new StepError(`These packages are missing: ${missing.join(', ')}`);
  return [...first, ...files.filter((file) => file.endsWith('.tgz') && !first.includes(file)).sort()];
}

async function isPublished(tarball) {
  const { stdout } = await exec('tar', ['-xOzf', tarball, 'package/package.json']);
  const { name, version } = JSON.parse(stdout);
  try {
    await exec('npm', ['view', `${name}@${version}`, 'version']);
    return true;
  } catch (error) {
    if (/E404/.test(error.stderr)) return false;
    throw error;
  }
}

if (process.argv[1] === import.meta.filename) {
  const { values, positionals } = parseArgs({
    options: { 'dry-run': { type: 'boolean', default: false } },
    allowPositionals: true,
  });
  const [folder] = positionals;
  if (folder === undefined) throw new StepError('Usage: node scripts/publish.mjs <folder> [--dry-run]');
  const { version } = await manifestOfConvoy();
  // A pre-release must not become what `npm install` installs.
  const tag = version.includes('-') ? 'next' : 'latest';
  for (const file of publicationOrder(await readdir(folder), version)) {
    const tarball = join(folder, file);
    if (values['dry-run']) console.log(`  ${file} → ${tag}`);
    else if (await isPublished(tarball)) console.log(`\n▸ ${file} is published already`);
    else {
      const words = ['publish', '--provenance', '--access', 'public', '--tag', tag, tarball];
      await run(`Publishing ${file}`, 'npm', words);
    }
  }
}
