/**
 * The packages of the platforms, each required by its literal name, from which tools that copy the files of a server
 * (Nitro, Vercel) know that it is needed.
 */
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

/** Loads the addon of a platform from its package, by the platform's tag. A test compares the tags with `npm/`. */
// Turbopack would bundle the addon into a script, and is told to leave the import to Node.
export const ENGINE_PACKAGES: Readonly<Record<string, () => unknown>> = {
  'darwin-arm64': () => require(/* turbopackIgnore: true */ '@avvos/convoy-darwin-arm64'),
  'darwin-x64': () => require(/* turbopackIgnore: true */ '@avvos/convoy-darwin-x64'),
  'linux-arm64-gnu': () => require(/* turbopackIgnore: true */ '@avvos/convoy-linux-arm64-gnu'),
  'linux-arm64-musl': () => require(/* turbopackIgnore: true */ '@avvos/convoy-linux-arm64-musl'),
  'linux-x64-gnu': () => require(/* turbopackIgnore: true */ '@avvos/convoy-linux-x64-gnu'),
  'linux-x64-musl': () => require(/* turbopackIgnore: true */ '@avvos/convoy-linux-x64-musl'),
  'win32-x64-msvc': () => require(/* turbopackIgnore: true */ '@avvos/convoy-win32-x64-msvc'),
};

/** The tags of the published engines. */
export const PUBLISHED_PLATFORMS: readonly string[] = Object.keys(ENGINE_PACKAGES);
