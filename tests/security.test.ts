/** `SECURITY.md`: each risk names tests, and each file that it names exists. */
import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const root = join(import.meta.dirname, '..');
const text = await readFile(join(root, 'SECURITY.md'), 'utf8');

const filesIn = (part: string): string[] =>
  [...part.matchAll(/`([\w.-]+\/[\w./-]+\.\w+)`/g)].map(([, file]) => file as string);

test('each file that it names exists', async () => {
  const files = filesIn(text);
  expect(files.length).toBeGreaterThan(20);
  const exist = await Promise.all(
    files.map((file) =>
      access(join(root, file)).then(
        () => true,
        () => false,
      ),
    ),
  );
  expect(files.filter((_, at) => exist[at] === false)).toEqual([]);
});

test('each risk of the OWASP list has one line, with the tests that cover it', () => {
  const rows = text.split('\n').filter((line) => /^\| API\d+ /.test(line));
  expect(rows.map((row) => Number(/^\| API(\d+)/.exec(row)?.[1]))).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  for (const row of rows) {
    const covering = filesIn(row.split('|').at(-2) ?? '');
    expect(
      covering.filter((file) => /\.test\.m?ts$|\.test\.mjs$|\/tests\/|\/fuzz_targets\//.test(file)),
      row,
    ).toEqual(covering);
    expect(covering, row).not.toEqual([]);
  }
});
