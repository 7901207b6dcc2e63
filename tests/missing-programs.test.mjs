/** `npm test` without a program that some tests need, when it cannot prompt for an installation. */
import { execFile } from 'node:child_process';
import { expect, test } from 'vitest';

const packages = new URL('../scripts/packages.mjs', import.meta.url).href;
/** Runs as an ordinary user, who cannot install packages. */
const script = `
  process.getuid = () => 1000;
  const { debianPackage, obtainProgram } = await import(${JSON.stringify(packages)});
  const found = await obtainProgram({
    name: 'Unobtainium',
    for: 'The tests of it',
    skipped: 'Some tests',
    installer: debianPackage('unobtainium'),
    advice: 'Install it.',
    search: async () => process.env.FOUND,
  });
  console.log('found ' + found);`;

function obtain(env) {
  const { CI: _, ...rest } = process.env;
  return new Promise((resolve) => {
    const args = ['--input-type=module', '-e', script];
    const child = execFile(process.execPath, args, { env: { ...rest, ...env } }, (_error, stdout, stderr) => {
      resolve({ code: child.exitCode, printed: stdout + stderr });
    });
    child.stdin?.end();
  });
}

test('the tests that need it are skipped with a message', async () => {
  const { code, printed } = await obtain({});
  expect(printed).toMatch(
    /Some tests are skipped\. The tests of it need Unobtainium, and none was found\. Install it\./,
  );
  expect(printed).toMatch(/found undefined/);
  expect(code).toBe(0);
});

test.each(['1', 'true'])('with CI=%s it is an error', async (CI) => {
  const { code, printed } = await obtain({ CI });
  expect(printed).toMatch(/✗ The tests of it need Unobtainium, and none was found\. Install it\./);
  expect(printed).not.toMatch(/skipped|found undefined/);
  expect(code).toBe(1);
});

test.each(['', 'false', '0'])('CI=%j is not CI', async (CI) => {
  expect((await obtain({ CI })).code).toBe(0);
});

test('a program that is found prints no message', async () => {
  expect(await obtain({ CI: 'true', FOUND: '/bin/unobtainium' })).toEqual({
    code: 0,
    printed: 'found /bin/unobtainium\n',
  });
});
