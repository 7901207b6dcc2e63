import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openApiOf } from './application.js';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'convoy-application-'));
  await writeFile(path.join(root, 'package.json'), JSON.stringify({ name: 'notes', version: '1.2.3' }));
});
afterEach(() => rm(root, { recursive: true }));

it('completes the setting openapi by package.json, also where a member is undefined', async () => {
  const notes = { title: 'notes', version: '1.2.3' };
  const settings = [true, {}, { title: undefined, servers: undefined }, { title: 'Notes', servers: ['/'] }];
  const completed = settings.map(async (setting) => openApiOf(setting as never, { root, dev: false }));
  expect((await Promise.all(completed)).map(({ openapi }) => openapi)).toEqual([
    notes,
    notes,
    notes,
    { title: 'Notes', version: '1.2.3', servers: ['/'] },
  ]);
  expect(JSON.parse(JSON.stringify(await completed[2]))).toEqual({ openapi: notes });
  expect(await openApiOf(undefined, { root, dev: true })).toEqual({ openapi: notes });
  for (const setting of [undefined, false]) {
    expect(await openApiOf(setting, { root, dev: false })).toEqual({ openapi: false });
  }
});
