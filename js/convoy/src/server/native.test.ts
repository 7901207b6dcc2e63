import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { currentPlatform, loadNative, platformTag } from './native.js';

afterEach(() => {
  vi.unstubAllEnvs();
});

describe('the addon', () => {
  it('is found by the name of the platform', () => {
    expect(platformTag({ platform: 'linux', arch: 'x64', libc: 'musl' })).toBe('linux-x64-musl');
    expect(platformTag({ platform: 'darwin', arch: 'arm64', libc: null })).toBe('darwin-arm64');
    expect(currentPlatform()).toMatchObject({ platform: process.platform, arch: process.arch });
  });

  it('missing for a platform is an error that names the package', () => {
    vi.stubEnv('CONVOY_NATIVE_PATH', '');
    const load = () => loadNative({ platform: 'plan9', arch: 'mips', libc: null });
    expect(load).toThrow(
      /no Convoy engine for plan9-mips.*@avvos\/convoy-plan9-mips is not installed.*CONVOY_NATIVE_PATH/s,
    );
  });

  it('is loaded from CONVOY_NATIVE_PATH if it is set, with an error that names the path', () => {
    const folder = mkdtempSync(join(tmpdir(), 'convoy-native-'));
    const fine = join(folder, 'fine.cjs');
    writeFileSync(fine, 'module.exports = { open: () => "opened" };');
    vi.stubEnv('CONVOY_NATIVE_PATH', fine);
    expect(loadNative()).toMatchObject({ open: expect.any(Function) });

    vi.stubEnv('CONVOY_NATIVE_PATH', join(folder, 'missing.node'));
    expect(() => loadNative()).toThrow(/CONVOY_NATIVE_PATH is .*missing\.node, but this file does not exist/);

    const broken = join(folder, 'broken.node');
    writeFileSync(broken, 'not a library');
    vi.stubEnv('CONVOY_NATIVE_PATH', broken);
    expect(() => loadNative()).toThrow(/engine \(.*broken\.node\) could not be loaded: /);

    const incomplete = join(folder, 'incomplete.cjs');
    writeFileSync(incomplete, 'require("./not-there.cjs");');
    vi.stubEnv('CONVOY_NATIVE_PATH', incomplete);
    expect(() => loadNative()).toThrow(/could not be loaded: Cannot find module '\.\/not-there\.cjs'/);
  });
});
