/**
 * The registry, the package managers and the runtimes of the long lane, installed once below `target/`. Their manifest
 * pins the versions and is not a workspace, because they have more packages than all else in this repository.
 */

import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { root } from '../../scripts/run.mjs';
import { runToEnd } from './processes.mjs';

const here = import.meta.dirname;

/** Returns the folder that holds `node_modules`. */
export async function installTools() {
  const manifest = path.join(here, 'package.json');
  const hash = createHash('sha256').update(readFileSync(manifest)).digest('hex').slice(0, 12);
  const below = path.join(process.env.CARGO_TARGET_DIR ?? path.join(root, 'target'), 'tools');
  const folder = path.join(below, `install-${hash}`);
  if (existsSync(folder)) return folder;
  await mkdir(below, { recursive: true });
  const draft = await mkdtemp(path.join(below, 'install-new-'));
  await copyFile(manifest, path.join(draft, 'package.json'));
  const words = ['install', '--ignore-scripts', '--no-package-lock', '--no-audit', '--no-fund'];
  const { code, output } = await runToEnd('npm', words, { cwd: draft });
  if (code !== 0) {
    await rm(draft, { recursive: true });
    throw new Error(`npm install of ${manifest} failed:\n${output}`);
  }
  // Complete or absent: another run of the test may do the same.
  await rename(draft, folder).catch(async (error) => {
    if (error.code !== 'EEXIST' && error.code !== 'ENOTEMPTY') throw error;
    await rm(draft, { recursive: true });
  });
  return folder;
}

/** The program `bun`, which its package links only by an install script. */
export function bunIn(tools) {
  const arch = process.arch === 'arm64' ? 'aarch64' : 'x64';
  return path.join(tools, 'node_modules/@oven', `bun-${process.platform}-${arch}`, 'bin/bun');
}

/** The program `deno`, likewise. */
export function denoIn(tools) {
  const libc = process.platform === 'linux' ? '-glibc' : '';
  return path.join(tools, 'node_modules/@deno', `${process.platform}-${process.arch}${libc}`, 'deno');
}

/** The program `workerd`, which runs edge workers. */
export function workerdIn(tools) {
  const arch = process.arch === 'x64' ? '64' : process.arch;
  return path.join(tools, 'node_modules/@cloudflare', `workerd-${process.platform}-${arch}`, 'bin/workerd');
}

/** The compiler of React Native's JavaScript engine. */
export function hermesCompilerIn(tools) {
  const folder = process.platform === 'darwin' ? 'osx-bin' : 'linux64-bin';
  return path.join(tools, 'node_modules/hermes-compiler/hermesc', folder, 'hermesc');
}

/** Makes a folder for PATH that has this package manager under the names that people type. */
export async function linkManager(manager, tools, folder) {
  await mkdir(folder, { recursive: true });
  switch (manager) {
    case 'npm':
      return;
    case 'pnpm':
      return symlink(path.join(tools, 'node_modules/.bin/pnpm'), path.join(folder, 'pnpm'));
    case 'bun':
      return symlink(bunIn(tools), path.join(folder, 'bun'));
    default: {
      const script = path.join(
        tools,
        'node_modules',
        manager === 'yarn 4' ? '@yarnpkg/cli-dist/bin' : 'yarn/bin',
        'yarn.js',
      );
      return writeFile(path.join(folder, 'yarn'), `#!/bin/sh\nexec node '${script}' "$@"\n`, { mode: 0o755 });
    }
  }
}
