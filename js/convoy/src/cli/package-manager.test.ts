import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { installCommand, packageManagerOf } from './package-manager.js';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'convoy-manager-'));
});
afterEach(() => rm(root, { recursive: true }));

describe('the package manager of a project', () => {
  it('is that of the nearest lockfile, above the folder too', async () => {
    await mkdir(path.join(root, 'apps/web'), { recursive: true });
    await writeFile(path.join(root, 'pnpm-lock.yaml'), '');
    expect(packageManagerOf(path.join(root, 'apps/web'))).toBe('pnpm');
    await writeFile(path.join(root, 'apps/web/yarn.lock'), '');
    expect(packageManagerOf(path.join(root, 'apps/web'))).toBe('yarn');
  });

  it('is what package.json declares, before any lockfile beside it', async () => {
    await writeFile(path.join(root, 'package-lock.json'), '{}');
    await writeFile(path.join(root, 'package.json'), '{ "packageManager": "bun@1.3.0" }');
    expect(packageManagerOf(root)).toBe('bun');
    await writeFile(path.join(root, 'package.json'), '{ not json');
    expect(packageManagerOf(root)).toBe('npm');
  });

  it('is the one that runs the program where nothing else tells, else npm', () => {
    expect(packageManagerOf(root, 'pnpm/12.1.0 npm/? node/v22.1.0 linux x64')).toBe('pnpm');
    expect(packageManagerOf(root, 'other/1.0.0')).toBe('npm');
    expect(packageManagerOf(root, '')).toBe('npm');
  });
});

it.each([
  ['npm', 'npm install --save-dev zod'],
  ['pnpm', 'pnpm add --save-dev zod'],
  ['yarn', 'yarn add --dev zod'],
  ['bun', 'bun add --dev zod'],
] as const)('%s adds a development dependency by its own command', (manager, command) => {
  expect(installCommand(manager, ['zod'], { dev: true })).toBe(command);
});
