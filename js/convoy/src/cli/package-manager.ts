/** The package manager that a project uses, and its commands. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';

export type PackageManager = 'npm' | 'pnpm' | 'yarn' | 'bun';

const MANAGERS: readonly PackageManager[] = ['npm', 'pnpm', 'yarn', 'bun'];

const LOCKFILES: readonly (readonly [string, PackageManager])[] = [
  ['pnpm-lock.yaml', 'pnpm'],
  ['yarn.lock', 'yarn'],
  ['bun.lock', 'bun'],
  ['bun.lockb', 'bun'],
  ['package-lock.json', 'npm'],
];

/**
 * By the nearest lockfile or `packageManager` in a `package.json`, from this folder upwards; else the one that runs this
 * process, as its user agent says; else npm.
 */
export function packageManagerOf(
  folder: string,
  userAgent: string | undefined = process.env.npm_config_user_agent,
): PackageManager {
  for (let at = path.resolve(folder); ; at = path.dirname(at)) {
    const declared = declaredIn(path.join(at, 'package.json'));
    const locked = LOCKFILES.find(([lockfile]) => existsSync(path.join(at, lockfile)))?.[1];
    const found = declared ?? locked;
    if (found !== undefined) return found;
    if (path.dirname(at) === at) break;
  }
  return named(userAgent) ?? 'npm';
}

/** The command that adds packages, with the words after it. `dev` adds them to the development dependencies. */
export function installWords(
  manager: PackageManager,
  packages: readonly string[],
  { dev = false }: { readonly dev?: boolean } = {},
): readonly string[] {
  const verb = manager === 'npm' ? 'install' : 'add';
  const flag = manager === 'yarn' || manager === 'bun' ? '--dev' : '--save-dev';
  return [manager, verb, ...(dev ? [flag] : []), ...packages];
}

export function installCommand(
  manager: PackageManager,
  packages: readonly string[],
  options?: { readonly dev?: boolean },
): string {
  return installWords(manager, packages, options).join(' ');
}

/** `packageManager` of a `package.json`, such as `pnpm@12.1.0`. Undefined for a missing or invalid file. */
function declaredIn(file: string): PackageManager | undefined {
  try {
    const { packageManager } = JSON.parse(readFileSync(file, 'utf8')) as { packageManager?: unknown };
    return typeof packageManager === 'string' ? named(packageManager.replace('@', '/')) : undefined;
  } catch {
    // The file only refines a message, and other code reports an invalid one.
    return undefined;
  }
}

/** `pnpm/12.1.0 npm/? node/v22` → `pnpm`. */
function named(text: string | undefined): PackageManager | undefined {
  const name = /^([a-z]+)\//.exec(text ?? '')?.[1];
  return MANAGERS.find((each) => each === name);
}
