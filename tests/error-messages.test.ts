/** Checks that the messages of errors are sentences, in the engine and in the packages, and checks the check itself. */
import { readdir, readFile } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { SourceFile } from './dependencies.js';
import { badMessages, messagesIn } from './error-messages.js';

const root = join(import.meta.dirname, '..');
const RUST = ['crates/convoy', 'crates/convoy-node'];
const TYPESCRIPT = ['js/convoy', 'js/convoy-auth', 'js/create-convoy-app'];

async function sources(folders: readonly string[]): Promise<SourceFile[]> {
  const paths = await Promise.all(
    folders.map(async (folder) => {
      const names = await readdir(join(root, folder, 'src'), { recursive: true });
      return names.map((name) => `${folder}/src/${name.split(sep).join('/')}`);
    }),
  );
  const isChecked = (path: string) => /\.(?:rs|tsx?)$/.test(path) && !/\/tests[./]|\.test[.-]/.test(path);
  const checked = paths.flat().filter(isChecked);
  return Promise.all(checked.map(async (path) => ({ path, text: await readFile(join(root, path), 'utf8') })));
}

test.each([
  ['the engine', RUST],
  ['the packages', TYPESCRIPT],
])('the messages of %s are sentences', async (_what, folders) => {
  const files = await sources(folders);
  expect(files.flatMap(badMessages)).toEqual([]);
  expect(files.flatMap(messagesIn).length).toBeGreaterThan(100);
});

describe('the check finds', () => {
  test.each([
    ['a small letter', 'rs', 'Failure::new(Code::Timeout, "the function took too long.")'],
    ['no period', 'rs', 'Failure::new(\n    Code::Timeout,\n    "The function took too long",\n)'],
    ['no period after a value', 'rs', 'Failure::new(code, format!("This request has two headers {name}"))'],
    ['no period after a cause', 'rs', 'invalid(format!("The filter is malformed: {error}"))'],
    [
      'a message in a variable',
      'rs',
      'let message = format!(\n    "the row has {bytes} bytes, \\\n     and not {limit}."\n);',
    ],
    ['a message that is replaced', 'rs', 'failure.message = format!("{subject}: {why}");'],
    ['the text of an error type', 'rs', '#[error("the schema has no table `{0}`.")]'],
    ['the beginning of a fault', 'rs', 'Fault::lasting("no-database", "there is no database", "create it.")'],
    ['a small letter', 'ts', "throw new ConvoyError('NOT_FOUND', 'there is no such function.');"],
    ['no period', 'ts', "throw unavailable('The stream broke off', caught);"],
    ['no period after a value', 'ts', `new ConvoyError(\n  error.code,\n  \`There is no table \${name}\`,\n)`],
    [
      'no period at the end of two literals',
      'ts',
      "new Error('The folder is not empty. ' +\n  'Choose another folder')",
    ],
    ['two periods', 'ts', "throw invalid('insert() takes an object.');"],
  ])('%s: .%s %s', (_what, extension, text) => {
    expect(badMessages({ path: `crates/convoy/src/a.${extension}`, text })).toHaveLength(1);
  });

  test.each([
    ['a name', 'rs', 'Failure::new(Code::Conflict, "`by_name` has this value.")'],
    [
      'a question',
      'rs',
      'Failure::new(Code::NotFound, format!("No query is called `{name}`; did you mean `{meant}`?"))',
    ],
    ['a command', 'rs', 'TransferError::Refused("Create it first: npx convoy migrate".into())'],
    ['tests', 'rs', '#[cfg(test)]\nmod tests {\n    fn f() { Failure::new(Code::NotFound, "gone") }\n}'],
    ['a call', 'ts', "new TypeError('ctx.db.get: give it an id.')"],
    ['a label', 'ts', "new Error('createContext must return an object.')"],
    ['the text of another error', 'ts', `new Error(\`\${file} could not be read: \${error.message}\`)`],
    ['a message that goes on', 'ts', "new Error('The folder ' + name)"],
  ])('nothing wrong with %s: .%s %s', (_what, extension, text) => {
    expect(badMessages({ path: `crates/convoy/src/a.${extension}`, text })).toEqual([]);
  });
});
