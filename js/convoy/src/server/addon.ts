/**
 * Finds the binary of the engine and loads it: from `CONVOY_NATIVE_PATH`, else from the platform's package, else from
 * this repository. A binary that exists but cannot be loaded is an error; the next candidate is not tried.
 *
 * Each error names the platform and the package, says why the binary is missing as far as that can be seen, and what to
 * do.
 */
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { ENGINE_PACKAGES, PUBLISHED_PLATFORMS } from './engine-packages.js';
import { oldNodeMessage } from './node-version.js';
import { currentPlatform, glibcVersion, OLDEST_GLIBC, type Platform, platformTag } from './platforms.js';

/** The dependencies of the search; tests replace them. */
export interface AddonSearch {
  readonly platform: Platform;
  /** The value of `CONVOY_NATIVE_PATH`. */
  readonly path: string | undefined;
  /** Modules are resolved as from this file, which is two levels below the package's folder. */
  readonly from: string;
  /** Loads the package of a published platform. */
  readonly load: (tag: string) => unknown;
}

const fromHere = (): AddonSearch => ({
  platform: currentPlatform(),
  path: process.env.CONVOY_NATIVE_PATH,
  from: fileURLToPath(import.meta.url),
  load: (tag) => ENGINE_PACKAGES[tag]?.(),
});

const fromSource = 'Or build the engine from source (CONTRIBUTING.md) and set CONVOY_NATIVE_PATH to its convoy.node.';

/** Loads the addon, or throws an Error for the developer. */
export function requireAddon(search: AddonSearch = fromHere()): unknown {
  const old = oldNodeMessage();
  if (old !== null) throw new Error(old);
  const require = createRequire(search.from);
  const tag = platformTag(search.platform);
  const packageName = `@avvos/convoy-${tag}`;
  const folder = path.resolve(path.dirname(search.from), '../..');
  // In this repository, packages are not installed but built under `npm/`.
  const candidates = search.path ? [search.path] : [packageName, path.join(folder, '../../npm', tag, 'convoy.node')];
  for (const candidate of candidates) {
    try {
      if (candidate !== packageName) return require(candidate);
      expectSameVersion(require, packageName, folder);
      return search.load(tag);
    } catch (error) {
      if (error instanceof VersionMismatch) throw error;
      if (!isMissing(error, candidate)) throw loadError(candidate, tag, error);
    }
  }
  if (search.path) throw new Error(`CONVOY_NATIVE_PATH is ${search.path}, but this file does not exist.`);
  throw new Error(missingEngine(tag, packageName, require));
}

class VersionMismatch extends Error {}

/** An engine of another version may lack what this version calls. */
function expectSameVersion(require: NodeRequire, packageName: string, folder: string): void {
  const engine = (require(`${packageName}/package.json`) as { version: string }).version;
  const { version } = require(path.join(folder, 'package.json')) as { version: string };
  if (engine === version) return;
  throw new VersionMismatch(
    `@avvos/convoy is ${version}, but its engine ${packageName} is ${engine}. ` +
      `Install both again in one version: delete node_modules, then install @avvos/convoy@${version}.`,
  );
}

function missingEngine(tag: string, packageName: string, require: NodeRequire): string {
  const what = `There is no Convoy engine for ${tag}:`;
  if (!PUBLISHED_PLATFORMS.includes(tag)) {
    return `${what} the published platforms are ${PUBLISHED_PLATFORMS.join(', ')}. ${fromSource}`;
  }
  const other = PUBLISHED_PLATFORMS.find((each) => isInstalled(`@avvos/convoy-${each}`, require));
  if (other !== undefined) {
    return (
      `${what} the package ${packageName} is not installed, but that of ${other} is, so node_modules was installed on ` +
      `another platform. Delete node_modules and install on this one; do not copy node_modules into a container. ${fromSource}`
    );
  }
  return (
    `${what} the package ${packageName} is not installed. It is an optional dependency of @avvos/convoy. Delete ` +
    'node_modules and install again without --omit=optional (npm), --no-optional (pnpm) or --ignore-optional (yarn). ' +
    `If it is still missing, name it: npm install ${packageName}. ${fromSource}`
  );
}

function loadError(candidate: string, tag: string, cause: unknown): Error {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const advice = /GLIBC_[\d.]+' not found/.test(reason)
    ? ` The engine needs glibc ${OLDEST_GLIBC} or later; this system has ${glibcVersion() ?? 'another C library'}.`
    : '';
  return new Error(`Convoy's engine for ${tag} (${candidate}) could not be loaded: ${reason}.${advice}`, { cause });
}

function isInstalled(packageName: string, require: NodeRequire): boolean {
  try {
    require.resolve(`${packageName}/package.json`);
    return true;
  } catch {
    return false;
  }
}

/** An installed package may itself lack a file, which is another error than a missing package. */
function isMissing(error: unknown, candidate: string): boolean {
  const { code, pnpCode, message } = error as { code?: unknown; pnpCode?: unknown; message?: unknown };
  if (code !== 'MODULE_NOT_FOUND') return false;
  // Yarn Plug'n'Play has its own messages.
  return String(message).includes(pnpCode === undefined ? `'${candidate}` : candidate);
}
