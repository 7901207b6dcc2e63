/** Which packages and tests `npm test -- <filter>` builds and runs. */
import { describe, expect, test } from 'vitest';
import { rustFiles } from '../scripts/test-files.mjs';
import { namePattern, needsEngine, needsPooler, selectRust, selectTypeScript } from '../scripts/test-selection.mjs';

const rust = (path, ...names) => ({
  path,
  text: names.map((name) => `#[tokio::test(flavor = "multi_thread")]\nasync fn ${name}() {}\n`).join(''),
});

describe('Rust tests', () => {
  const files = [
    { path: 'crates/convoy/src/live/delta.rs', text: 'mod tests {\n    #[test]\n    fn a_row_moves() {}\n}' },
    rust('crates/convoy/tests/engine/http.rs', 'a_body_is_read'),
    rust('crates/convoy/tests/engine/pooler.rs', 'a_session_is_lent'),
    rust('crates/convoy/tests/acceptance/postgres_as_oracle/mod.rs', 'every_order'),
  ];

  test.each([
    ['a_row', { packages: ['convoy'], targets: ['--lib'], pooler: 0, others: 1 }],
    ['live::delta::tests::a_row_moves', { packages: ['convoy'], targets: ['--lib'], pooler: 0, others: 1 }],
    ['http', { packages: ['convoy'], targets: ['--test=engine'], pooler: 0, others: 1 }],
    ['pooler', { packages: ['convoy'], targets: ['--test=engine'], pooler: 1, others: 0 }],
    ['postgres_as_oracle::every', { packages: ['convoy'], targets: ['--test=acceptance'], pooler: 0, others: 1 }],
    ['border.test', { packages: [], targets: [], pooler: 0, others: 0 }],
  ])('%s', (filter, selection) => {
    expect(selectRust(files, [filter])).toEqual(selection);
  });
});

describe('TypeScript tests', () => {
  const files = [
    {
      path: 'js/convoy/src/client/rows.test.ts',
      text: "describe('rows', () => {\n  it('keep their order', () => {});",
    },
    { path: 'tests/border.test.ts', text: "test.each([['one row', 1]])('the border of %s', () => {});" },
    {
      path: 'tests/tables.test.ts',
      text: "test.each([\n  ['a'],\n  ['b'],\n])(\n  'the table %s',\n  () => {},\n);\nit('isn\\'t long', () => {});",
    },
  ];

  test.each([
    ['rows', ['js/convoy/src/client/rows.test.ts'], []],
    ['BORDER', ['tests/border.test.ts'], []],
    ['their order', [], ['js/convoy/src/client/rows.test.ts']],
    ['rows keep their order', [], ['js/convoy/src/client/rows.test.ts']],
    ['the border of one row', [], ['tests/border.test.ts']],
    ['the table', [], ['tests/tables.test.ts']],
    ['the table b', [], ['tests/tables.test.ts']],
    ["isn't long", [], ['tests/tables.test.ts']],
    ['no such test', [], []],
  ])('%s', (filter, whole, named) => {
    expect(selectTypeScript(files, [filter])).toEqual({ whole, named });
  });

  test('require the engine only where they load it', () => {
    expect(files.map((file) => needsEngine([file]))).toEqual([false, true, true]);
  });

  test('are selected by a title that spans lines, although the path of another file has the word', () => {
    expect(selectTypeScript(files, ['table', 'rows'])).toEqual({
      whole: ['js/convoy/src/client/rows.test.ts', 'tests/tables.test.ts'],
      named: [],
    });
    const paths = [{ path: 'tests/the table.test.ts', text: '' }, ...files];
    expect(selectTypeScript(paths, ['the table']).named).toEqual(['tests/tables.test.ts']);
  });

  test('are selected by texts, which Vitest takes as patterns', () => {
    expect('(a) b? c.d').toMatch(new RegExp(namePattern(['b? c.d', 'x'])));
    expect('b c-d').not.toMatch(new RegExp(namePattern(['b? c.d'])));
  });
});

test('every Rust test is found by its name, and the names of those that start PgBouncer contain `pooler`', async () => {
  const files = await rustFiles();
  const { pooler, others } = selectRust(files, ['']);
  const attributes = files.map(({ text }) => text.match(/^\s*#\[(?:\w+::)*test\b/gm)?.length ?? 0);
  expect(pooler + others).toBe(attributes.reduce((sum, each) => sum + each));
  expect(pooler).toBeGreaterThan(0);
  const starting = files.filter(({ path, text }) => path.includes('/tests/') && text.includes('Pooler::'));
  for (const file of starting) {
    const { packages, others } = selectRust([file], ['']);
    expect({ path: file.path, packages, others }).toEqual({ path: file.path, packages: ['convoy'], others: 0 });
    expect(file.path).toMatch(needsPooler);
  }
});
