// The name of this platform in package names, and the path of its addon.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './run.mjs';

const libraries = { linux: 'libconvoy_node.so', darwin: 'libconvoy_node.dylib', win32: 'convoy_node.dll' };

export function platform() {
  const { platform: os, arch: cpu } = process;
  const library = libraries[os];
  if (library === undefined) {
    throw new Error(`Convoy does not build on ${os} yet; it builds on ${Object.keys(libraries).join(', ')}.`);
  }
  if (os !== 'linux') return { name: os === 'win32' ? `win32-${cpu}-msvc` : `${os}-${cpu}`, library };
  const musl = readdirSync('/lib').some((file) => file.startsWith('ld-musl-'));
  const libc = musl && !process.report.getReport().header.glibcVersionRuntime ? 'musl' : 'gnu';
  return { name: `linux-${cpu}-${libc}`, library };
}

export function addonFile() {
  return join(root, 'npm', platform().name, 'convoy.node');
}
