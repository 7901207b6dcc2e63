import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { loadEnvFiles } from './env-files.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'convoy-env-'));
});
afterEach(async () => {
  for (const name of ['ONE', 'TWO', 'THREE']) delete process.env[`CONVOY_TEST_${name}`];
  await rm(folder, { recursive: true });
});

it('prefers existing variables over the root, and the root over the working folder', async () => {
  const root = path.join(folder, 'app');
  await mkdir(root);
  process.env.CONVOY_TEST_ONE = 'set';
  await writeFile(path.join(root, '.env'), 'CONVOY_TEST_ONE=root\nCONVOY_TEST_TWO=root\n');
  await writeFile(path.join(folder, '.env'), 'CONVOY_TEST_TWO=cwd\nCONVOY_TEST_THREE=cwd\n');
  expect(loadEnvFiles(root, folder)).toEqual([path.join(root, '.env'), path.join(folder, '.env')]);
  const { CONVOY_TEST_ONE, CONVOY_TEST_TWO, CONVOY_TEST_THREE } = process.env;
  expect([CONVOY_TEST_ONE, CONVOY_TEST_TWO, CONVOY_TEST_THREE]).toEqual(['set', 'root', 'cwd']);
});

it('accepts missing files, and ignores a folder of that name', async () => {
  expect(loadEnvFiles(folder, folder)).toEqual([]);
  await mkdir(path.join(folder, '.env'));
  expect(loadEnvFiles(folder, folder)).toEqual([]);
});
