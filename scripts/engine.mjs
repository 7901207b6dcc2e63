// The engine for running the example: built with Rust, or the published one of the same version where Rust is not
// installed, so that a contributor to the TypeScript side needs no Rust.
import { execFile } from 'node:child_process';
import { access, constants, copyFile, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { buildEngine } from './build.mjs';
import { hasCommand } from './packages.mjs';
import { addonFile, platform } from './platform.mjs';
import { manifestOfConvoy } from './platform-packages.mjs';
import { root, StepError } from './run.mjs';

const installRust =
  process.platform === 'win32'
    ? 'winget install Rustlang.Rustup'
    : "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh";

/**
 * Puts an engine at `addon`.
 *
 * @param {{ addon?: string, stamp?: string, build?: () => Promise<void> }} [options] `stamp` is the file that names the
 *   published engine at `addon`, if that is one
 */
export async function ensureEngine({
  addon = addonFile(),
  stamp = join(root, 'node_modules/.convoy-engine'),
  build = () => buildEngine('dev'),
} = {}) {
  if (process.env.CONVOY_NATIVE_PATH) return;
  if (await hasCommand('cargo')) {
    await build();
    // The file at `addon` is not the published engine.
    await rm(stamp, { force: true });
    return;
  }
  const { version } = await manifestOfConvoy();
  const published = `@avvos/convoy-${platform().name}@${version}`;
  const isThere = (await textOf(stamp)) === published && (await isReadable(addon));
  if (!isThere) {
    await download(published, addon);
    await writeFile(stamp, published);
  }
  console.log(`\n▸ Rust is not installed: using the published engine ${published}, without later changes of crates/`);
}

/** Downloads a package of an engine with npm, which checks it against the registry's hash, and takes its addon. */
async function download(published, addon) {
  const folder = await mkdtemp(join(tmpdir(), 'convoy-engine-'));
  try {
    const args = ['pack', published, '--json', '--ignore-scripts', '--pack-destination', folder];
    const { stdout } = await promisify(execFile)('npm', args, { cwd: folder }).catch((error) => {
      throw new StepError(
        `Rust is not installed, and npm could not download the published engine ${published}: ${reasonIn(error)}\n` +
          `  Install Rust, then run this again: ${installRust}`,
      );
    });
    const [{ filename }] = JSON.parse(stdout);
    await promisify(execFile)('tar', ['-xzf', filename, 'package/convoy.node'], { cwd: folder });
    await mkdir(dirname(addon), { recursive: true });
    // Renamed into place, since a running process may have the old file mapped.
    await copyFile(join(folder, 'package/convoy.node'), `${addon}.new`);
    await rename(`${addon}.new`, addon);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** The error that npm printed. */
function reasonIn({ stdout = '', message }) {
  try {
    return JSON.parse(stdout).error.summary;
  } catch {
    // Not npm's own failure: it could not be started.
    return message;
  }
}

async function textOf(file) {
  return readFile(file, 'utf8').catch((error) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
}

async function isReadable(file) {
  return access(file, constants.R_OK).then(
    () => true,
    () => false,
  );
}
