// Sets the version of everything that is published, in one command, and commits and
// tags it. The tag starts the workflow that builds, tests and publishes.
//
//   npm run release -- <version> [--dry-run]
//
// --dry-run prints what would change and writes nothing.
import { execFile } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { filesOf, manifestOfConvoy, platforms } from './platform-packages.mjs';
import { root, StepError } from './run.mjs';

const exec = promisify(execFile);
const SEMVER = /^(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?$/;

/**
 * The files of a release with their new texts. Pure.
 *
 * @param {string} version
 * @param {string} date such as `2026-01-31`
 * @param {Readonly<Record<string, string>>} texts path → text, of `releaseFiles`
 * @returns {Record<string, string>} only those that change
 */
export function releaseTexts(version, date, texts) {
  const convoy = JSON.parse(texts['js/convoy/package.json']);
  const previous = convoy.version;
  if (!SEMVER.test(version)) throw new StepError(`${version} is not a version such as 1.2.3 or 1.2.3-beta.1`);
  if (compareReleases(version, previous) < 0) throw new StepError(`${version} is older than ${previous}`);
  const changed = {};
  const set = (path, text) => {
    if (texts[path] !== text) changed[path] = text;
  };
  for (const [path, text] of Object.entries(texts)) {
    if (/^js\/[^/]+\/package\.json$/.test(path)) set(path, manifestFor(version, text, path));
  }
  for (const platform of platforms) {
    for (const [file, text] of Object.entries(filesOf(platform, { ...convoy, version })))
      set(`npm/${platform.tag}/${file}`, text);
  }
  const workspace = /(\[workspace\.package\]\nversion = )".*?"/;
  set('Cargo.toml', replaceOnce(texts['Cargo.toml'], workspace, `$1"${version}"`, 'Cargo.toml'));
  set('Cargo.lock', texts['Cargo.lock'].replace(/(name = "convoy(?:-[a-z]+)?"\nversion = )".*?"/g, `$1"${version}"`));
  set('package-lock.json', lockFor(version, texts['package-lock.json']));
  set('CHANGELOG.md', changelogFor(version, date, texts['CHANGELOG.md']));
  return changed;
}

/** Negative if `left` comes before `right`. A pre-release comes before its release. */
export function compareReleases(left, right) {
  const [a, b] = [left, right].map((version) => SEMVER.exec(version) ?? []);
  for (const at of [1, 2, 3]) if (a[at] !== b[at]) return Number(a[at]) - Number(b[at]);
  if (a[4] === b[4]) return 0;
  if (a[4] === undefined || b[4] === undefined) return a[4] === undefined ? 1 : -1;
  return a[4].localeCompare(b[4], 'en', { numeric: true });
}

/** The section of a version in the changelog, without its heading; throws if there is none. */
export function changesOf(version, changelog) {
  const start = changelog.indexOf(`\n## [${version}]`);
  if (start < 0) throw new StepError(`CHANGELOG.md has no section for ${version}`);
  const [, ...lines] = changelog.slice(start + 1).split('\n');
  const end = lines.findIndex((line) => line.startsWith('## '));
  return lines
    .slice(0, end < 0 ? undefined : end)
    .join('\n')
    .trim();
}

function changelogFor(version, date, text) {
  if (text.includes(`\n## [${version}]`)) return text;
  return replaceOnce(text, '## [Unreleased]\n', `## [Unreleased]\n\n## [${version}] - ${date}\n`, 'CHANGELOG.md');
}

/** The version, and that of @avvos/convoy where it is a peer: packages of one version work together. */
function manifestFor(version, text, path) {
  const own = replaceOnce(text, /"version": ".*?"/, `"version": "${version}"`, path);
  return own.replace(/("@avvos\/convoy": )"\d[^"]*"/, `$1"${version}"`);
}

function lockFor(version, text) {
  const lock = JSON.parse(text);
  for (const [path, entry] of Object.entries(lock.packages)) {
    if (!/^js\/[^/]+$/.test(path)) continue;
    entry.version = version;
    if (entry.peerDependencies?.['@avvos/convoy'] !== undefined) entry.peerDependencies['@avvos/convoy'] = version;
  }
  return `${JSON.stringify(lock, null, 2)}\n`;
}

function replaceOnce(text, what, by, path) {
  const replaced = text.replace(what, by);
  if (replaced === text && !text.includes(by)) throw new StepError(`${path} has no ${what}`);
  return replaced;
}

/** Reads the files that have versions: path → text. */
export async function releaseFiles() {
  const packages = (await readdir(join(root, 'js'))).map((name) => `js/${name}/package.json`);
  const own = platforms.flatMap(({ tag }) => [`npm/${tag}/package.json`, `npm/${tag}/README.md`]);
  const paths = [...packages, ...own, 'Cargo.toml', 'Cargo.lock', 'package-lock.json', 'CHANGELOG.md'];
  const entries = await Promise.all(paths.map(async (path) => [path, await readFile(join(root, path), 'utf8')]));
  return Object.fromEntries(entries);
}

async function git(...words) {
  return (await exec('git', words, { cwd: root })).stdout.trim();
}

if (process.argv[1] === import.meta.filename) {
  const { values, positionals } = parseArgs({
    options: { 'dry-run': { type: 'boolean', default: false } },
    allowPositionals: true,
  });
  const [version] = positionals;
  if (version === undefined || positionals.length > 1)
    throw new StepError('Usage: npm run release -- <version> [--dry-run]');
  const changed = releaseTexts(version, new Date().toISOString().slice(0, 10), await releaseFiles());
  const { version: previous } = await manifestOfConvoy();
  console.log(`\n▸ ${previous} → ${version}`);
  for (const path of Object.keys(changed)) console.log(`  ${path}`);
  if (values['dry-run']) {
    console.log(`\n✓ Dry run: nothing was written. The release would be committed, and tagged v${version}.`);
  } else {
    if ((await git('status', '--porcelain')) !== '') throw new StepError('Commit or stash your changes first.');
    if ((await git('tag', '--list', `v${version}`)) !== '') throw new StepError(`The tag v${version} exists already.`);
    for (const [path, text] of Object.entries(changed)) await writeFile(join(root, path), text);
    await git('commit', '--all', '--message', `release: ${version}`);
    await git('tag', '--annotate', `v${version}`, '--message', `Version ${version}`);
    console.log(`\n✓ Committed, and tagged v${version}. To publish it: git push --follow-tags`);
  }
}
