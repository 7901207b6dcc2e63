// The versions that `npm run test:versions` tests, and the decisions of that script. Pure.
import { posix } from 'node:path';
import { parseArgs } from 'node:util';
import { needsChromium } from './test-selection.mjs';

/**
 * By major version, the version of npm's package with the binaries. That of the newest one is a dependency of
 * js/convoy, and is the Postgres of all other tests.
 */
export const postgresVersions = {
  14: '14.23.0-beta.17',
  15: '15.18.0-beta.17',
  16: '16.14.0-beta.17',
  17: '17.10.0-beta.17',
  18: '18.4.0-beta.17',
};

/** By major version. The first one is the oldest that `engines` of package.json allows. */
export const nodeVersions = {
  20: '20.19.0',
  22: '22.23.3',
  24: '24.21.0',
};

/**
 * @typedef {'rust' | 'typescript'} Language
 * @typedef {{ postgres: string[], node: string[], languages: Language[], filters: string[] }} Plan major versions, and
 *   which tests
 * @typedef {{ passed: number, failed: number, skipped: number, succeeded: boolean }} Counts `succeeded` is false if a
 *   test failed, or something outside of the tests, such as the import of a file
 */

/**
 * Without an option, every version.
 *
 * @param {string[]} args
 * @returns {Plan}
 */
export function planOf(args) {
  const version = { type: 'string', multiple: true };
  const { values, positionals } = parseArgs({
    args,
    options: { postgres: version, node: version, only: { type: 'string' } },
    allowPositionals: true,
  });
  const languages = ['rust', 'typescript'];
  if (values.only !== undefined && !languages.includes(values.only)) {
    throw new Error(`--only takes ${languages.join(' or ')}, not ${values.only}.`);
  }
  const all = values.postgres === undefined && values.node === undefined;
  return {
    postgres: chosen('Postgres', values.postgres, postgresVersions, all),
    node: chosen('Node', values.node, nodeVersions, all),
    languages: values.only === undefined ? languages : [values.only],
    filters: positionals,
  };
}

function chosen(name, wanted, versions, all) {
  const known = Object.keys(versions);
  if (wanted === undefined) return all ? known : [];
  const unknown = wanted.find((each) => !known.includes(each));
  if (unknown === undefined) return known.filter((each) => wanted.includes(each));
  throw new Error(`${name} ${unknown} is not a version that the tests run on; those are ${known.join(', ')}.`);
}

/**
 * The npm package with the program `node` for a platform, as npm's package `node` chooses it.
 *
 * @param {{ platform: string, arch: string }} machine as in `process`
 */
export function nodePackageFor({ platform, arch }) {
  const prefix = platform === 'darwin' && arch === 'arm64' ? 'node-bin' : 'node';
  return `${prefix}-${platform === 'win32' ? 'win' : platform}-${arch}`;
}

/** What a file contains that talks to the Postgres of the tests, or starts its own. */
const namesPostgres = /CONVOY_TEST_DATABASE_URL|startOwnPostgres/;

/**
 * The test files that talk to Postgres: that contain its name, or import a file that does. Tests in a browser are not
 * among them: what they show of Postgres and Node, the others show too.
 *
 * @param {string[]} tests paths
 * @param {ReadonlyMap<string, string>} texts of all files, by path
 */
export function thoseThatUsePostgres(tests, texts) {
  return tests.filter((path) => !needsChromium.test(path) && usesPostgres(path, texts, new Set()));
}

function usesPostgres(path, texts, seen) {
  const text = texts.get(path);
  if (text === undefined || seen.has(path)) return false;
  seen.add(path);
  if (namesPostgres.test(text)) return true;
  const imports = [...text.matchAll(/from '(\.[^']+)'/g)].map(([, name]) => posix.join(posix.dirname(path), name));
  return imports.some((each) => [each, each.replace(/\.js$/, '.ts')].some((one) => usesPostgres(one, texts, seen)));
}

/**
 * The sum of what the test programs of `cargo test` report.
 *
 * @param {string} output
 * @param {boolean} succeeded
 * @returns {Counts}
 */
export function countsOfCargo(output, succeeded) {
  const lines = [...output.matchAll(/^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/gm)];
  const sum = (at) => lines.reduce((total, line) => total + Number(line[at]), 0);
  return { passed: sum(1), failed: sum(2), skipped: sum(3), succeeded };
}

/**
 * @param {{ numPassedTests: number, numFailedTests: number, numPendingTests: number }} results of Vitest's reporter `json`
 * @param {boolean} succeeded
 * @returns {Counts}
 */
export function countsOfVitest({ numPassedTests, numFailedTests, numPendingTests }, succeeded) {
  return { passed: numPassedTests, failed: numFailedTests, skipped: numPendingTests, succeeded };
}

/**
 * @param {({ on: string, tests: string } & Counts)[]} rows
 */
export function tableOf(rows) {
  const head = ['', 'tests', 'passed', 'failed', 'skipped', ''];
  const cells = rows.map(({ on, tests, passed, failed, skipped, succeeded }) => [
    on,
    tests,
    ...[passed, failed, skipped].map(String),
    succeeded ? '✓' : '✗',
  ]);
  const widths = head.map((_, column) => Math.max(...[head, ...cells].map((row) => row[column].length)));
  const isNumber = (column) => column >= 2 && column <= 4;
  const pad = (cell, column) => (isNumber(column) ? cell.padStart(widths[column]) : cell.padEnd(widths[column]));
  return [head, ...cells].map((row) => row.map(pad).join('  ').trimEnd()).join('\n');
}
