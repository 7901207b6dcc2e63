import { execFile } from 'node:child_process';
import { cp, lstat, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { prepareBinaries } from './binaries.js';
import { type BinariesPackage, findBinariesPackage } from './installed.js';

const run = promisify(execFile);

describe('the Postgres binaries', () => {
  let folder: string;
  let installed: BinariesPackage;

  /** The package as npm unpacks it with --ignore-scripts. */
  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'convoy-binaries-'));
    const found = await findBinariesPackage(import.meta.dirname);
    installed = { ...found, folder: path.join(folder, 'package') };
    await cp(found.folder, installed.folder, {
      recursive: true,
      filter: async (source) => !(await lstat(source)).isSymbolicLink(),
    });
  });
  afterEach(() => rm(folder, { recursive: true }));

  const version = async (program: string) => (await run(program, ['--version'])).stdout;

  it('get their links created in place, by several processes at once', async () => {
    const options = { copyTo: path.join(folder, 'copies'), mustCopy: false };
    const all = await Promise.all([1, 2, 3].map(() => prepareBinaries(installed, options)));
    for (const { postgres, initdb } of all) {
      expect(postgres).toBe(path.join(installed.folder, 'native/bin/postgres'));
      expect(await version(postgres)).toMatch(/^postgres \(PostgreSQL\) 18/);
      expect(await version(initdb)).toMatch(/^initdb \(PostgreSQL\) 18/);
    }
  });

  it('are copied once where they cannot be reached, and run from the copy alone', async () => {
    const copyTo = path.join(folder, 'copies');
    const copied: string[] = [];
    const options = { copyTo, mustCopy: true, onCopy: (at: string) => copied.push(at) };
    const all = await Promise.all([1, 2].map(() => prepareBinaries(installed, options)));
    await rm(installed.folder, { recursive: true });
    for (const { postgres } of all) expect(await version(postgres)).toMatch(/PostgreSQL\) 18/);
    expect(await readdir(copyTo)).toEqual([`${installed.platform}-${installed.version}`]);
    await prepareBinaries(installed, options);
    expect(copied.length).toBeLessThanOrEqual(2);
  });
});
