import { expect, test } from 'vitest';
import { detectPackageManager, installCommand, scriptCommand } from './package-manager.js';

test.each([
  ['npm/11.19.1 node/v24.0.0 linux x64 workspaces/false', 'npm'],
  ['pnpm/12.0.1 npm/? node/v24.0.0 linux x64', 'pnpm'],
  ['yarn/4.9.0 npm/? node/v22.1.0 darwin arm64', 'yarn'],
  ['bun/1.3.0 npm/? node/v24.0.0 linux x64', 'bun'],
  ['deno/2.5.0 npm/? node/v24.0.0 linux x64', 'npm'],
  [undefined, 'npm'],
])('%s is %s', (agent, manager) => {
  expect(detectPackageManager({ npm_config_user_agent: agent })).toBe(manager);
});

test('commands are those of the package manager', () => {
  expect([scriptCommand('npm', 'dev'), scriptCommand('pnpm', 'dev'), installCommand('yarn')]).toEqual([
    'npm run dev',
    'pnpm dev',
    'yarn install',
  ]);
});
