// The platforms that Convoy is published for, and their packages under npm/, laid out
// as @napi-rs/cli does. Writes manifests and READMEs; the versions are that of
// @avvos/convoy.
//
//   node scripts/platform-packages.mjs            writes what differs
//   node scripts/platform-packages.mjs --check    fails if something differs
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { billFile } from './bill-of-materials.mjs';
import { root, StepError } from './run.mjs';

/**
 * @typedef {{ tag: string, target: string, os: string, cpu: string, libc?: 'glibc' | 'musl', title: string }} Platform
 *   `tag` is the folder in npm/ and the end of the package's name, `target` that of Rust
 */

/** The oldest glibc that addons may need: that of RHEL 8 and Debian 10. */
export const oldestGlibc = '2.28';

/** @type {readonly Platform[]} */
export const platforms = [
  { tag: 'darwin-arm64', target: 'aarch64-apple-darwin', os: 'darwin', cpu: 'arm64', title: 'macOS on Apple silicon' },
  { tag: 'darwin-x64', target: 'x86_64-apple-darwin', os: 'darwin', cpu: 'x64', title: 'macOS on Intel' },
  {
    tag: 'linux-arm64-gnu',
    target: 'aarch64-unknown-linux-gnu',
    os: 'linux',
    cpu: 'arm64',
    libc: 'glibc',
    title: `Linux on arm64 with glibc ${oldestGlibc} or later`,
  },
  {
    tag: 'linux-arm64-musl',
    target: 'aarch64-unknown-linux-musl',
    os: 'linux',
    cpu: 'arm64',
    libc: 'musl',
    title: 'Linux on arm64 with musl',
  },
  {
    tag: 'linux-x64-gnu',
    target: 'x86_64-unknown-linux-gnu',
    os: 'linux',
    cpu: 'x64',
    libc: 'glibc',
    title: `Linux on x64 with glibc ${oldestGlibc} or later`,
  },
  {
    tag: 'linux-x64-musl',
    target: 'x86_64-unknown-linux-musl',
    os: 'linux',
    cpu: 'x64',
    libc: 'musl',
    title: 'Linux on x64 with musl',
  },
  { tag: 'win32-x64-msvc', target: 'x86_64-pc-windows-msvc', os: 'win32', cpu: 'x64', title: 'Windows on x64' },
];

/** @param {Platform} platform */
export const packageNameOf = ({ tag }) => `@avvos/convoy-${tag}`;

export async function manifestOfConvoy() {
  return JSON.parse(await readFile(join(root, 'js/convoy/package.json'), 'utf8'));
}

/**
 * The files of a platform's package, except the addon: name → text.
 *
 * @param {Platform} platform
 * @param {{ version: string, license: string, engines: object }} convoy the manifest of @avvos/convoy
 */
export function filesOf(platform, { version, license, engines }) {
  const name = packageNameOf(platform);
  const manifest = {
    name,
    version,
    description: `The engine of Convoy for ${platform.title}.`,
    license,
    main: 'convoy.node',
    files: ['convoy.node', billFile],
    os: [platform.os],
    cpu: [platform.cpu],
    ...(platform.libc ? { libc: [platform.libc] } : {}),
    engines,
  };
  const readme = `# ${name}

The engine of \`@avvos/convoy\` for ${platform.title} (\`${platform.target}\`).
Package managers install it with \`@avvos/convoy\`, whose optional dependency it is. Do not install it by itself.
`;
  return { 'package.json': `${JSON.stringify(manifest, null, 2)}\n`, 'README.md': readme };
}

/** Returns the paths of the files that differ from what `write` would make of them. */
export async function differences() {
  const convoy = await manifestOfConvoy();
  const found = [];
  for (const platform of platforms) {
    for (const [file, text] of Object.entries(filesOf(platform, convoy))) {
      const path = join('npm', platform.tag, file);
      const now = await readFile(join(root, path), 'utf8').catch((error) => {
        if (error.code === 'ENOENT') return null;
        throw error;
      });
      if (now !== text) found.push({ path, text });
    }
  }
  return found;
}

export async function writePlatformPackages() {
  const written = await differences();
  for (const { path, text } of written) {
    await mkdir(join(root, path, '..'), { recursive: true });
    await writeFile(join(root, path), text);
  }
  return written.map(({ path }) => path);
}

if (process.argv[1] === import.meta.filename) {
  const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });
  if (values.check) {
    const paths = (await differences()).map(({ path }) => path);
    if (paths.length > 0) {
      throw new StepError(`${paths.join(', ')}: not up to date; run node scripts/platform-packages.mjs`);
    }
  } else {
    for (const path of await writePlatformPackages()) console.log(`wrote ${path}`);
  }
}
