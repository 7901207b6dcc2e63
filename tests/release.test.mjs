/** `npm run release`: the version is set everywhere, and a dry run writes nothing. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { platforms } from '../scripts/platform-packages.mjs';
import { publicationOrder } from '../scripts/publish.mjs';
import { changesOf, compareReleases, releaseFiles, releaseTexts } from '../scripts/release.mjs';

const repository = path.join(import.meta.dirname, '..');
const files = await releaseFiles();
const { version: current } = JSON.parse(files['js/convoy/package.json']);

describe('a release', () => {
  const changed = releaseTexts('9.8.7-beta.1', '2030-01-31', files);

  test('has one version in every file that has one', () => {
    for (const name of Object.keys(files).filter((each) => /^js\/.*package\.json$/.test(each))) {
      expect(JSON.parse(changed[name]).version).toBe('9.8.7-beta.1');
    }
    for (const { tag } of platforms)
      expect(JSON.parse(changed[`npm/${tag}/package.json`]).version).toBe('9.8.7-beta.1');
    expect(changed['Cargo.toml']).toContain('[workspace.package]\nversion = "9.8.7-beta.1"');
    for (const name of ['convoy', 'convoy-node', 'convoy-testkit']) {
      expect(changed['Cargo.lock']).toContain(`name = "${name}"\nversion = "9.8.7-beta.1"`);
    }
    expect(JSON.parse(changed['package-lock.json']).packages['js/convoy'].version).toBe('9.8.7-beta.1');
  });

  test('has packages that work with @avvos/convoy of the same version', () => {
    const { peerDependencies } = JSON.parse(changed['js/convoy-auth/package.json']);
    expect(peerDependencies['@avvos/convoy']).toBe('9.8.7-beta.1');
    const locked = JSON.parse(changed['package-lock.json']).packages['js/convoy-auth'];
    expect(locked.peerDependencies['@avvos/convoy']).toBe('9.8.7-beta.1');
  });

  test('changes nothing else', () => {
    const manifests = ['js/convoy/package.json', 'js/convoy-auth/package.json'];
    for (const name of ['Cargo.toml', 'Cargo.lock', 'package-lock.json', ...manifests]) {
      expect(changed[name].replaceAll('9.8.7-beta.1', current)).toBe(files[name]);
    }
  });

  test('closes the unreleased section of the changelog', () => {
    expect(changed['CHANGELOG.md']).toContain('## [Unreleased]\n\n## [9.8.7-beta.1] - 2030-01-31\n');
    expect(changesOf('9.8.7-beta.1', changed['CHANGELOG.md'])).not.toBe('');
    expect(changesOf('9.8.7-beta.1', changed['CHANGELOG.md'])).not.toMatch(/^## /m);
    expect(() => changesOf('1.0.0', files['CHANGELOG.md'])).toThrow('CHANGELOG.md has no section for 1.0.0');
  });

  test('is refused for an older version and for what is no version', () => {
    expect(() => releaseTexts('0.0.1', '2030-01-31', files)).toThrow(`0.0.1 is older than ${current}`);
    expect(() => releaseTexts('v1', '2030-01-31', files)).toThrow('v1 is not a version');
  });
});

test('releases are ordered, with pre-releases before their release', () => {
  const ordered = ['0.9.0', '0.10.0-beta.2', '0.10.0-beta.10', '0.10.0', '1.0.0'];
  expect([...ordered].reverse().sort(compareReleases)).toEqual(ordered);
});

describe('the publication', () => {
  const all = [...platforms.map(({ tag }) => `avvos-convoy-${tag}-1.0.0.tgz`), 'avvos-convoy-1.0.0.tgz'];

  test('begins with all platforms, and @avvos/convoy comes before what depends on it', () => {
    const found = ['convoy.cdx.json', 'create-convoy-app-1.0.0.tgz', ...[...all].reverse()];
    expect(publicationOrder(found, '1.0.0')).toEqual([...all, 'create-convoy-app-1.0.0.tgz']);
  });

  test('is refused while a platform is missing', () => {
    expect(() => publicationOrder(all.slice(1), '1.0.0')).toThrow(`missing: ${all[0]}`);
  });

  test('builds and tries every platform in the workflow', async () => {
    const workflow = await readFile(path.join(repository, '.github/workflows/release.yml'), 'utf8');
    for (const { tag } of platforms) {
      expect(workflow).toContain(`- { platform: ${tag}, runner:`);
      const tried = workflow.slice(workflow.indexOf('\n  smoke:'));
      expect(tried).toContain(`- { platform: ${tag}, runner:`);
    }
  });
});

test('a dry run lists the files and writes none of them', async () => {
  const script = path.join(repository, 'scripts/release.mjs');
  const { stdout } = await promisify(execFile)(process.execPath, [script, '9.8.7', '--dry-run']);
  expect(stdout).toMatch(
    /→ 9\.8\.7\n {2}js\/convoy\/package\.json[\s\S]*CHANGELOG\.md[\s\S]*nothing was written.*v9\.8\.7/,
  );
  expect(await readFile(path.join(repository, 'Cargo.toml'), 'utf8')).toBe(files['Cargo.toml']);
});
