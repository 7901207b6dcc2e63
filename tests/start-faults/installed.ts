/** A copy of the package in a project, as installed by a package manager, without its optional packages. */
import { cp, mkdir, readdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';

const repository = join(import.meta.dirname, '../..');

/** The packages that it depends on, and its peer `zod`. */
const DEPENDENCIES = ['@esbuild', 'chokidar', 'commander', 'dotenv', 'eventsource-parser', 'picocolors', 'zod'];

/** Replaces the link to this repository in the project at `root`. */
export async function installCopy(root: string): Promise<void> {
  const modules = join(root, 'node_modules');
  const folder = join(modules, '@avvos/convoy');
  await rm(modules, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  for (const part of ['bin', 'dist', 'vendor', 'package.json']) {
    await cp(join(repository, 'js/convoy', part), join(folder, part), { recursive: true });
  }
  for (const name of DEPENDENCIES) await symlink(join(repository, 'node_modules', name), join(modules, name));
}

/** The folder of the addon of this platform: the tests' own, or that of `CONVOY_NATIVE_PATH`. */
export async function addonPath(): Promise<string> {
  if (process.env.CONVOY_NATIVE_PATH) return process.env.CONVOY_NATIVE_PATH;
  const npm = join(repository, 'npm');
  for (const tag of await readdir(npm)) {
    const files = await readdir(join(npm, tag));
    if (files.includes('convoy.node') && tag.startsWith(`${process.platform}-${process.arch}`)) {
      return join(npm, tag, 'convoy.node');
    }
  }
  throw new Error('There is no addon in npm/: run `npm run build`.');
}
