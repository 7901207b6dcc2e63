// Builds the addon of a Linux platform on any Linux: with Zig as C compiler and
// linker, so that it needs no newer glibc than 2.28, and no toolchain of the target.
//
//   node scripts/cross.mjs <platform> [--profile release|dev]
//
// Needs Python 3 with venv, for cargo-zigbuild and Zig from PyPI, which are installed
// into target/tools. The standard library of the target comes from rustup; where rustup
// has no access to it, from Debian's packages of Rust, which bring their own compiler.
import { copyFile, mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { compareVersions, needsOf, newestGlibc } from './elf.mjs';
import { toolsFolder } from './packages.mjs';
import { oldestGlibc, platforms } from './platform-packages.mjs';
import { pythonTools } from './python-tools.mjs';
import { root, run, StepError } from './run.mjs';
import { rustFor } from './rust-targets.mjs';

const zig = ['cargo-zigbuild==0.24.1', 'ziglang==0.17.1'];

/**
 * Builds the addon, checks what it needs of the system, and returns its path.
 *
 * @param {string} tag such as `linux-arm64-gnu`
 * @param {'release' | 'dev'} profile
 * @param {string} [addon] its path; by default in the package of the platform
 */
export async function crossBuild(tag, profile, addon = join(root, 'npm', tag, 'convoy.node')) {
  const platform = platforms.find((each) => each.tag === tag);
  if (platform?.os !== 'linux') {
    const linux = platforms.filter(({ os }) => os === 'linux').map((each) => each.tag);
    throw new StepError(`${tag} is not built here; cross.mjs builds ${linux.join(', ')}`);
  }
  const { libc, target } = platform;
  const tools = await pythonTools('zig', zig);
  const rust = await rustFor(target);
  const flags = libc === 'musl' ? '-C target-feature=-crt-static' : '';
  const folder = join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), rust.name);
  await run(
    `Building the engine for ${platform.title} (${profile}; the first time takes some minutes)`,
    join(tools, 'cargo-zigbuild'),
    [
      'zigbuild',
      '--locked',
      '--package',
      'convoy-node',
      '--profile',
      profile,
      '--target',
      libc === 'glibc' ? `${target}.${oldestGlibc}` : target,
    ],
    {
      env: {
        ...rust.env,
        CARGO_TARGET_DIR: folder,
        PATH: `${tools}:${process.env.PATH}`,
        ...(flags ? { RUSTFLAGS: flags } : {}),
      },
    },
  );
  const built = join(folder, target, profile === 'dev' ? 'debug' : profile, 'libconvoy_node.so');
  await expectSystem(built, platform);
  await mkdir(join(addon, '..'), { recursive: true });
  // Renamed into place, since a running process may have the old file mapped.
  await copyFile(built, `${addon}.new`);
  await rename(`${addon}.new`, addon);
  return addon;
}

/** Throws if an addon needs more of the system than its package says. */
export async function expectSystem(addon, { tag, cpu, libc }) {
  const needs = await needsOf(addon);
  if (needs.cpu !== cpu) throw new StepError(`${addon} is for ${needs.cpu}, but ${tag} is for ${cpu}`);
  const glibc = newestGlibc(needs);
  if (libc === 'musl' && glibc !== null) throw new StepError(`${addon} needs glibc ${glibc}, but ${tag} has musl`);
  if (libc === 'glibc' && compareVersions(glibc ?? '0', oldestGlibc) > 0) {
    const newer = needs.versions.filter(({ name }) => compareVersions(name.replace('GLIBC_', ''), oldestGlibc) > 0);
    throw new StepError(
      `${addon} needs glibc ${glibc} (${newer.map(({ name }) => name).join(', ')}), but ${tag} allows ${oldestGlibc}`,
    );
  }
}

if (process.argv[1] === import.meta.filename) {
  const { values, positionals } = parseArgs({
    options: { profile: { type: 'string', default: 'release' } },
    allowPositionals: true,
  });
  if (values.profile !== 'release' && values.profile !== 'dev') {
    throw new StepError(`--profile takes release or dev, not ${values.profile}`);
  }
  await mkdir(toolsFolder, { recursive: true });
  for (const tag of positionals) console.log(`\n✓ ${await crossBuild(tag, values.profile)}`);
}
