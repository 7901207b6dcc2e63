/** The terminal of `convoy dev`: shortcuts, type errors, and what a save prints. */
import { mkdir, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { CommandLine, call, noteFunctions, notes } from './command-line.js';

let app: CommandLine;
beforeEach(async () => {
  app = await CommandLine.create({ 'convoy/schema.ts': notes, 'convoy/functions/notes.ts': noteFunctions });
});
afterEach(() => app.remove());

test('r restarts at the same address, l lists live queries, h lists shortcuts, q quits', async () => {
  const dev = app.start(['dev', '--port', '0', '--no-types']);
  const type = (line: string) => dev.process.stdin?.write(`${line}\n`);
  const [, url = ''] = await dev.prints(/Server +(http:\S+)/);
  type('h');
  await dev.prints(/restart the server/);
  type('l');
  await dev.prints(/0 live queries over 0 streams/);
  await call(url, 'mutation/notes.add', { body: 'kept' });
  type('r');
  expect((await dev.prints(/Server +(http:\S+)/))[1]).toBe(url);
  expect(await call(url, 'query/notes.list')).toMatchObject({ data: ['kept'] });
  await app.write({
    'convoy/functions/more.ts':
      "import { query } from '../_generated/server';\nexport const two = query({ handler: () => 2 });",
  });
  await dev.prints(/more\.ts changed: loaded in \d+ ms, wrote api\.ts/);
  expect(await call(url, 'query/more.two')).toMatchObject({ data: 2 });
  type('q');
  await dev.prints(/Stopped/);
  expect(await dev.ended).toBe(0);
});

test('type errors are shown beside, and the code is loaded all the same', async () => {
  const typescript = dirname(createRequire(import.meta.url).resolve('typescript/package.json'));
  await mkdir(join(app.root, 'node_modules'), { recursive: true });
  await symlink(typescript, join(app.root, 'node_modules/typescript'));
  const odd = (value: string) =>
    `import { query } from '../_generated/server';\nconst text: string = ${value};\nexport const odd = query({ handler: () => text });`;
  await app.write({
    'tsconfig.json': JSON.stringify({
      compilerOptions: { strict: true, module: 'esnext', moduleResolution: 'bundler', types: [], skipLibCheck: true },
      files: ['convoy/functions/odd.ts'],
    }),
    'convoy/functions/odd.ts': odd('1'),
  });
  const dev = app.start(['dev', '--port', '0']);
  const [, url = ''] = await dev.prints(/Server +(http:\S+)/);
  expect(await call(url, 'query/odd.odd')).toMatchObject({ data: 1 });
  await dev.prints(/Types: 1 error\. The code runs all the same/);
  await dev.prints(/convoy\/functions\/odd\.ts:2:7: TS2322: Type 'number' is not assignable to type 'string'/);
  await app.write({ 'convoy/functions/odd.ts': odd("'1'") });
  // In either order: neither waits for the other.
  await dev.prints(
    /odd\.ts changed: loaded in.*Types: no errors any more|no errors any more.*odd\.ts changed: loaded in/s,
  );
  expect(await call(url, 'query/odd.odd')).toMatchObject({ data: '1' });
  dev.process.kill('SIGTERM');
  await dev.prints(/Stopped/);
  expect(await dev.ended).toBe(0);
});

test('--verbose shows what the time of a save consists of', async () => {
  const dev = app.start(['dev', '--port', '0', '--no-types', '--verbose']);
  const [, url = ''] = await dev.prints(/Server +(http:\S+)/);
  await app.write({ 'convoy/functions/notes.ts': noteFunctions.replace('?? null', "?? 'nobody'") });
  await dev.prints(
    /save to live: noticed [\d.]+ ms, waited .*, bundled .*, imported by a worker .*, swapped [\d.]+ ms/,
  );
  expect(await call(url, 'query/notes.whoami')).toMatchObject({ data: 'nobody' });
});

test('a save that is half written is not reported', async () => {
  const dev = app.start(['dev', '--port', '0', '--no-types']);
  const [, url = ''] = await dev.prints(/Server +(http:\S+)/);
  const whole = noteFunctions.replace('?? null', "?? 'nobody'");
  await app.write({ 'convoy/functions/notes.ts': whole.slice(0, -20) });
  await app.write({ 'convoy/functions/notes.ts': whole });
  await dev.prints(/notes\.ts changed: loaded/);
  // It may have been loaded while it was empty, which is no error.
  await expect.poll(() => call(url, 'query/notes.whoami'), { timeout: 30_000 }).toMatchObject({ data: 'nobody' });
  expect(dev.stdout).not.toContain('ERROR');
});
