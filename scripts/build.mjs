// Builds everything that a clone needs to run: the JavaScript package, and the engine
// as an addon in the package of this platform under npm/.
//
//   node scripts/build.mjs [--profile release|dev] [--js-only]
import { copyFile, mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ensureInstalled } from './install.mjs';
import { addonFile, platform } from './platform.mjs';
import { root, run, targetFolder } from './run.mjs';
import { vendorEsbuild } from './vendor.mjs';

export async function buildPackage() {
  await ensureInstalled();
  await vendorEsbuild();
  await run('Building the TypeScript package', 'npx', ['tsc', '-p', 'js/convoy']);
  await run('Building @avvos/convoy-auth', 'npx', ['tsc', '-p', 'js/convoy-auth']);
  await run('Building create-convoy-app', 'npx', ['tsc', '-p', 'js/create-convoy-app']);
}

/** @param {'release' | 'dev'} profile */
export async function buildEngine(profile) {
  const { name, library } = platform();
  await run(`Building the engine (${profile}; the first time takes a few minutes)`, 'cargo', [
    'build',
    '--locked',
    '--package',
    'convoy-node',
    '--profile',
    profile,
    // Tests activate failpoints to show that they detect the damage.
    ...(profile === 'dev' ? ['--features', 'failpoints'] : []),
  ]);
  const built = join(targetFolder, profile === 'dev' ? 'debug' : profile, library);
  const folder = join(root, 'npm', name);
  await mkdir(folder, { recursive: true });
  // Renamed into place, since a running process may have the old file mapped.
  const fresh = `${addonFile()}.new`;
  await copyFile(built, fresh);
  await rename(fresh, addonFile());
}

if (import.meta.main ?? process.argv[1] === new URL(import.meta.url).pathname) {
  const { values } = parseArgs({
    options: { profile: { type: 'string', default: 'release' }, 'js-only': { type: 'boolean', default: false } },
  });
  if (values.profile !== 'release' && values.profile !== 'dev') {
    throw new Error(`--profile takes release or dev, not ${values.profile}`);
  }
  await buildPackage();
  if (!values['js-only']) await buildEngine(values.profile);
}
