import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type AddonSearch, requireAddon } from './addon.js';
import { PUBLISHED_PLATFORMS } from './engine-packages.js';
import { currentPlatform, type Platform, platformTag } from './platforms.js';

const alpine: Platform = { platform: 'linux', arch: 'x64', libc: 'musl' };

let root: string;
beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), 'convoy-addon-'));
  write('node_modules/@avvos/convoy/package.json', '{ "name": "@avvos/convoy", "version": "1.2.3" }');
});
afterEach(() => rmSync(root, { recursive: true }));

function write(file: string, text: string): string {
  const at = path.join(root, file);
  mkdirSync(path.dirname(at), { recursive: true });
  writeFileSync(at, text);
  return at;
}

/** An installed platform package whose addon is a script. */
function install(tag: string, version = '1.2.3', addon = `module.exports = { tag: '${tag}' };`): void {
  const folder = `node_modules/@avvos/convoy-${tag}`;
  write(`${folder}/package.json`, JSON.stringify({ version, main: 'convoy.cjs' }));
  write(`${folder}/convoy.cjs`, addon);
}

const search = (platform: Platform, given?: string): AddonSearch => {
  const from = path.join(root, 'node_modules/@avvos/convoy/dist/server/addon.js');
  return { platform, path: given, from, load: (tag) => createRequire(from)(`@avvos/convoy-${tag}`) };
};

const errorOf = (options: AddonSearch): string => {
  try {
    requireAddon(options);
  } catch (error) {
    return (error as Error).message.replaceAll(root, '<root>').split('\n')[0] ?? '';
  }
  throw new Error('the addon was found');
};

describe('the addon', () => {
  it('is that of the package of the platform', () => {
    install('linux-x64-musl');
    install('linux-x64-gnu');
    expect(requireAddon(search(alpine))).toEqual({ tag: 'linux-x64-musl' });
    expect(requireAddon(search({ ...alpine, libc: 'gnu' }))).toEqual({ tag: 'linux-x64-gnu' });
  });

  it('has the names that @napi-rs/cli gives platforms', () => {
    expect(platformTag(alpine)).toBe('linux-x64-musl');
    expect(platformTag({ platform: 'darwin', arch: 'arm64', libc: null })).toBe('darwin-arm64');
    expect(platformTag({ platform: 'win32', arch: 'x64', libc: null })).toBe('win32-x64-msvc');
    expect(PUBLISHED_PLATFORMS).toContain(platformTag(currentPlatform()));
  });

  it('missing is an error that names platform, package and what to do', () => {
    expect(errorOf(search(alpine))).toMatchInlineSnapshot(
      `"There is no Convoy engine for linux-x64-musl: the package @avvos/convoy-linux-x64-musl is not installed. It is an optional dependency of @avvos/convoy. Delete node_modules and install again without --omit=optional (npm), --no-optional (pnpm) or --ignore-optional (yarn). If it is still missing, name it: npm install @avvos/convoy-linux-x64-musl. Or build the engine from source (CONTRIBUTING.md) and set CONVOY_NATIVE_PATH to its convoy.node."`,
    );
  });

  it('for a platform without a package is an error that lists the platforms', () => {
    expect(errorOf(search({ platform: 'freebsd', arch: 'x64', libc: null }))).toMatchInlineSnapshot(
      `"There is no Convoy engine for freebsd-x64: the published platforms are darwin-arm64, darwin-x64, linux-arm64-gnu, linux-arm64-musl, linux-x64-gnu, linux-x64-musl, win32-x64-msvc. Or build the engine from source (CONTRIBUTING.md) and set CONVOY_NATIVE_PATH to its convoy.node."`,
    );
  });

  it('of another platform is an error that says that node_modules was copied', () => {
    install('darwin-arm64');
    expect(errorOf(search(alpine))).toMatch(
      /^There is no Convoy engine for linux-x64-musl: .*darwin-arm64 is, so node_modules was installed on another/,
    );
  });

  it('of another version is an error that names both versions', () => {
    install('linux-x64-musl', '1.2.2');
    expect(errorOf(search(alpine))).toMatchInlineSnapshot(
      `"@avvos/convoy is 1.2.3, but its engine @avvos/convoy-linux-x64-musl is 1.2.2. Install both again in one version: delete node_modules, then install @avvos/convoy@1.2.3."`,
    );
  });

  it('that a too old glibc rejects is an error that names the oldest glibc', () => {
    install('linux-x64-gnu', '1.2.3', `throw new Error("/lib/libc.so.6: version \`GLIBC_2.99' not found");`);
    expect(errorOf(search({ ...alpine, libc: 'gnu' }))).toMatch(
      /engine for linux-x64-gnu .* could not be loaded: .*GLIBC_2\.99.* needs glibc 2\.28 or later; this system has 2\.\d+/,
    );
  });

  it('is loaded from CONVOY_NATIVE_PATH if it is set, with an error that names the path', () => {
    install('linux-x64-musl');
    const given = write('given.cjs', 'module.exports = { given: true };');
    expect(requireAddon(search(alpine, given))).toEqual({ given: true });
    expect(errorOf(search(alpine, path.join(root, 'missing.node')))).toBe(
      'CONVOY_NATIVE_PATH is <root>/missing.node, but this file does not exist.',
    );
    expect(errorOf(search(alpine, write('broken.node', 'not a library')))).toMatch(
      /engine for linux-x64-musl \(<root>\/broken\.node\) could not be loaded: /,
    );
    const incomplete = write('incomplete.cjs', 'require("./not-there.cjs");');
    expect(errorOf(search(alpine, incomplete))).toMatch(/could not be loaded: Cannot find module '\.\/not-there\.cjs'/);
  });
});
