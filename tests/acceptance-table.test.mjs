/** The list of acceptance tests, and the table of their results. */
import { access, readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import {
  acceptanceRows,
  modulesOf,
  outcomesOf,
  resultsTable,
  seedsIn,
  withTable,
} from '../scripts/acceptance-table.mjs';

const root = new URL('../', import.meta.url);
const rows = acceptanceRows(await readFile(new URL('docs/internals/acceptance.md', root), 'utf8'));

describe('the list of acceptance tests', () => {
  test.each(rows)('$number, $what: $test exists', async ({ modules, files, binaries }) => {
    expect(modules.length + files.length + binaries.length).toBeGreaterThan(0);
    for (const binary of binaries) await access(new URL(`crates/convoy/tests/${binary}/main.rs`, root));
    for (const file of files) await access(new URL(file, root));
    const main = await readFile(new URL('crates/convoy/tests/acceptance/main.rs', root), 'utf8');
    for (const module of modules) expect(main).toContain(`mod ${module.split('::')[0]};`);
  });

  test('has every module of the suite that has tests', async () => {
    const main = await readFile(new URL('crates/convoy/tests/acceptance/main.rs', root), 'utf8');
    const listed = new Set(rows.flatMap(({ modules }) => modules.map((module) => module.split('::')[0])));
    for (const [, module] of main.matchAll(/^mod (\w+);$/gm)) {
      const folder = `crates/convoy/tests/acceptance/${module}`;
      const text = await readFile(new URL(`${folder}.rs`, root), 'utf8').catch(() => undefined);
      // `server_process` is the program that other tests start.
      const isSuite = text === undefined || (module !== 'server_process' && /#\[tokio::test/.test(text));
      expect(listed.has(module) || !isSuite, module).toBe(true);
    }
  });

  test('a row runs no test that is a row of its own', () => {
    const row = (modules) => ({ modules });
    const all = [row(['list_append']), row(['list_append::lost_replies']), row(['list_appendix'])];
    expect(modulesOf(all[0], all)).toEqual({ include: ['list_append'], skip: ['list_append::lost_replies::'] });
    expect(modulesOf(all[1], all)).toEqual({ include: ['list_append::lost_replies'], skip: [] });
  });
});

const printed = `
running 3 tests
test storm::serves ... ignored, for another test
test storm::control_is_detected ... storm::control_is_detected: seed 7
ok
test storm::every_reader_converges ... storm::every_reader_converges: seed 18
FAILED

failures:

failures:
    storm::every_reader_converges

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s
`;

describe('the table of results', () => {
  const outcomes = outcomesOf(printed);

  test('has tests, controls and seeds as they were printed', () => {
    expect(outcomes).toEqual([
      { name: 'storm::control_is_detected', passed: true },
      { name: 'storm::every_reader_converges', passed: false },
    ]);
    expect(seedsIn(printed)).toEqual(['7', '18']);
    const row = { number: '1', what: 'a storm', test: 'storm.rs', full: '20 kills', control: '`x`' };
    const table = resultsTable([
      { ...row, outcomes, seeds: ['7', '18'], seconds: 200, at: '2026-01-31', commit: 'abc' },
    ]);
    expect(table).toContain(
      '| 1 | a storm | storm.rs | 20 kills | 7, 18 | 0 of 1 passed | 1 of 1 detected | 3 min | 2026-01-31, abc |',
    );
  });

  test('a test that was skipped has not passed', () => {
    const ran = 'test clock::it_is_set ... clock::it_is_set: skipped: there is no faketime\nok\ntest result: ok.';
    expect(outcomesOf(ran)).toEqual([{ name: 'clock::it_is_set', passed: false }]);
  });

  test('a program that ended in the middle has passed nothing', () => {
    expect(outcomesOf('test storm::every_reader_converges ... ')).toEqual([
      { name: 'storm::every_reader_converges', passed: false },
    ]);
  });

  test('takes the place of the previous one in the page', async () => {
    const page = await readFile(new URL('docs/guarantees.md', root), 'utf8');
    const once = withTable(page, '| one |');
    expect(withTable(withTable(once, '| two |'), '| one |')).toBe(once);
    expect(() => withTable('no marks', '')).toThrow('lacks');
  });
});
