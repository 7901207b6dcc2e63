/** The system libraries that the addons need: read from their files, and tried for a platform that this machine is not. */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { describe, expect, test } from 'vitest';
import { crossBuild, expectSystem } from '../scripts/cross.mjs';
import { compareVersions, needsOf, newestGlibc } from '../scripts/elf.mjs';
import { arm64Node } from '../scripts/emulator.mjs';
import { addonFile } from '../scripts/platform.mjs';
import { oldestGlibc, platforms } from '../scripts/platform-packages.mjs';

const run = promisify(execFile);
const builtHere = process.env.CONVOY_NATIVE_PATH ?? addonFile();
const platformOf = (tag) => platforms.find((each) => each.tag === tag);

describe('the versions of symbols', () => {
  test('are compared as numbers', () => {
    expect(compareVersions('2.28', '2.4')).toBeGreaterThan(0);
    expect(compareVersions('2.2.5', '2.28')).toBeLessThan(0);
    const versions = ['GLIBC_2.4', 'GLIBC_2.28', 'GLIBC_2.17', 'GCC_4.2.0'].map((name) => ({
      library: 'libc.so.6',
      name,
    }));
    expect(newestGlibc({ versions })).toBe('2.28');
    expect(newestGlibc({ versions: [] })).toBeNull();
  });

  // Other systems have no ELF files.
  test.skipIf(process.platform !== 'linux')('are read from the addon, as the loader sees them', async () => {
    const needs = await needsOf(builtHere);
    expect(needs.cpu).toBe(process.arch);
    const { stdout } = await run('readelf', ['--wide', '--version-info', builtHere]);
    const needed = stdout.slice(stdout.indexOf('Version needs section'));
    const names = [...needed.matchAll(/Name: (\S+)/g)].map(([, name]) => name);
    expect(needs.versions.map(({ name }) => name).sort()).toEqual(names.sort());
  });

  test.skipIf(process.platform !== 'linux')(
    'that are too new for a platform are an error that names them',
    async () => {
      const glibc = newestGlibc(await needsOf(builtHere));
      const { tag, ...platform } = platformOf(`linux-${process.arch}-gnu`);
      // Built for the glibc of this machine, which is the control of the long test below.
      if (glibc !== null && compareVersions(glibc, oldestGlibc) > 0) {
        await expect(expectSystem(builtHere, { tag, ...platform })).rejects.toThrow(
          new RegExp(`needs glibc ${glibc} \\(.*GLIBC_${glibc}.*\\), but ${tag} allows ${oldestGlibc}`),
        );
      }
      await expect(expectSystem(builtHere, { ...platformOf(`linux-${process.arch}-musl`) })).rejects.toThrow(
        /has musl/,
      );
      const other = platformOf(process.arch === 'x64' ? 'linux-arm64-gnu' : 'linux-x64-gnu');
      await expect(expectSystem(builtHere, other)).rejects.toThrow(`is for ${process.arch}, but ${other.tag} is for`);
    },
  );
});

// Release builds, which take minutes, on Debian for x64, from which they take compilers and libraries.
const canCross = process.env.CONVOY_TEST_LONG === '1' && process.platform === 'linux' && process.arch === 'x64';

describe.skipIf(!canCross)('a release build', { timeout: 3_600_000 }, () => {
  test.each(['linux-x64-gnu', 'linux-arm64-gnu'])(
    `for %s needs no glibc after ${oldestGlibc}, and is stripped`,
    async (tag) => {
      const folder = path.join(import.meta.dirname, '../target/cross');
      const addon = await crossBuild(tag, 'release', path.join(folder, tag, 'convoy.node'));
      expect(compareVersions(newestGlibc(await needsOf(addon)), oldestGlibc)).toBeLessThanOrEqual(0);
      expect((await stat(addon)).size).toBeLessThan(11_000_000);
      const command = tag === 'linux-x64-gnu' ? [process.execPath] : await arm64Node();
      expect(await smoke(command, addon)).toEqual({
        platform: 'linux',
        arch: platformOf(tag).cpu,
        seen: [[], ['hello']],
      });
    },
  );
});

/** Runs a program that opens an engine, in a database of its own. */
async function smoke([program, ...words], addon) {
  const url = new URL(process.env.CONVOY_TEST_DATABASE_URL);
  const server = new pg.Client({ connectionString: url.href });
  await server.connect();
  const name = `smoke_${randomUUID().replaceAll('-', '')}`;
  url.pathname = `/${name}`;
  try {
    const script = path.join(import.meta.dirname, 'programs/smoke.mjs');
    const env = { ...process.env, DATABASE_URL: url.href, CONVOY_NATIVE_PATH: addon };
    const { stdout } = await run(program, [...words, script], { env });
    return JSON.parse(stdout);
  } finally {
    await server.query(`drop database if exists ${name} with (force)`);
    await server.end();
  }
}
