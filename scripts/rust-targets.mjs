// Provides a Rust that can compile for another target: that of rustup, or where rustup
// cannot get the target's standard library, Debian's `rustc-web` with the library of
// the other architecture, unpacked below target/tools without installing it.
import { execFile } from 'node:child_process';
import { access, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { toolsFolder } from './packages.mjs';
import { run, StepError } from './run.mjs';

const exec = promisify(execFile);
const debianArchitectures = { 'x86_64-unknown-linux-gnu': 'amd64', 'aarch64-unknown-linux-gnu': 'arm64' };

/**
 * @typedef {{ name: string, env: Record<string, string> }} Rust `name` names a target folder: one compiler cannot read
 *   what another has compiled
 * @param {string} target
 * @returns {Promise<Rust>}
 */
export async function rustFor(target) {
  if ((await hasStandardLibrary(target)) || (await addTarget(target))) return { name: 'cross', env: {} };
  const architecture = debianArchitectures[target];
  if (process.platform !== 'linux' || process.arch !== 'x64' || architecture === undefined) {
    throw new StepError(`There is no standard library of Rust for ${target}. Run: rustup target add ${target}`);
  }
  return { name: 'cross-debian', env: { RUSTC: join(await debianRust(architecture), 'rustc') } };
}

async function hasStandardLibrary(target) {
  try {
    const { stdout } = await exec('rustc', ['--print', 'target-libdir', '--target', target]);
    const files = await readdir(stdout.trim());
    return files.some((file) => /^libstd-.*\.rlib$/.test(file));
  } catch {
    return false;
  }
}

async function addTarget(target) {
  try {
    await exec('rustup', ['target', 'add', target], { timeout: 120_000 });
    return true;
  } catch {
    console.log(`\n▸ rustup has no ${target} here; Debian's packages are used`);
    return false;
  }
}

/** Unpacks Debian's Rust for this machine with the standard library for `architecture`; returns its folder. */
async function debianRust(architecture) {
  const foreign = architecture === 'amd64' ? [] : [`libstd-rust-web-dev:${architecture}`];
  const folder = join(toolsFolder, `rust-web-${architecture}`);
  if (await exists(join(folder, 'rustc'))) return folder;
  const draft = `${folder}.new`;
  await rm(draft, { recursive: true, force: true });
  await mkdir(join(draft, 'packages'), { recursive: true });
  if (foreign.length > 0) {
    await run(`Reading Debian's packages for ${architecture}`, 'sh', [
      '-c',
      `dpkg --add-architecture ${architecture} && apt-get update -qq`,
    ]);
  }
  const library = await dependencyOf('rustc-web', /^libstd-rust-web-dev$/);
  const runtime = await dependencyOf(library, /^libstd-rust-web-[\d.]+$/);
  const llvm = await dependencyOf(runtime, /^libllvm\d+$/);
  const packages = ['rustc-web', library, runtime, llvm, ...foreign];
  const cwd = join(draft, 'packages');
  await run("Downloading Debian's Rust", 'apt-get', ['download', '-qq', ...packages], { cwd });
  for (const file of await readdir(cwd)) await exec('dpkg', ['-x', join(cwd, file), join(draft, 'root')]);
  const libraries = join(folder, 'root/usr/lib/x86_64-linux-gnu');
  const script = `#!/bin/sh\nLD_LIBRARY_PATH='${libraries}' exec '${folder}/root/usr/bin/rustc' "$@"\n`;
  await writeFile(join(draft, 'rustc'), script, { mode: 0o755 });
  await rm(cwd, { recursive: true });
  await rename(draft, folder);
  return folder;
}

async function dependencyOf(name, pattern) {
  const { stdout } = await exec('apt-cache', ['depends', '--important', name]);
  const found = stdout.split('\n').flatMap((line) => /Depends: (\S+)/.exec(line)?.[1] ?? []);
  const match = found.find((each) => pattern.test(each));
  if (match === undefined) throw new StepError(`Debian's ${name} depends on no ${pattern.source}: ${found.join(', ')}`);
  return match;
}

async function exists(path) {
  return access(path).then(
    () => true,
    () => false,
  );
}
