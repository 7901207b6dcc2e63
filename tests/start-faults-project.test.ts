/** The output where a project or the machine is not as a server needs it. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { call, type Files, notes } from './command-line.js';
import { addonPath, installCopy } from './start-faults/installed.js';
import { type Attempt, Startable, snapshots } from './start-faults/ways.js';

async function startable(files: Files = {}): Promise<Startable> {
  const project = await Startable.create();
  onTestFinished(() => project.app.remove());
  await project.app.write(files);
  return project;
}

async function expectPrinted(name: string, project: Startable, attempt: Attempt = {}): Promise<void> {
  await expect(await project.attempt(attempt)).toMatchFileSnapshot(join(snapshots, `${name}.txt`));
}

describe('the machine', () => {
  test('has neither DATABASE_URL nor an embedded Postgres', async () => {
    const project = await (await startable()).build();
    await installCopy(project.app.root);
    await expectPrinted('no-database-url', project, {
      env: { DATABASE_URL: '', CONVOY_NATIVE_PATH: await addonPath() },
    });
  });

  test('has no engine', async () => {
    const project = await (await startable()).build();
    await installCopy(project.app.root);
    await expectPrinted('no-engine', project, { env: { CONVOY_NATIVE_PATH: '' } });
  });

  test('has an old Node', async () => {
    const project = await (await startable()).build();
    const versions = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '18.20.8' } })`;
    project.nodeFlags = ['--import', `data:text/javascript,${encodeURIComponent(versions)}`];
    await expectPrinted('old-node', project);
  });

  test('has another program on the port', async () => {
    const project = await (await startable()).build();
    await project.app.run(['migrate']);
    const taken = createServer().listen(0, '0.0.0.0');
    onTestFinished(() => void taken.close());
    await once(taken, 'listening');
    const port = String((taken.address() as AddressInfo).port);
    await expectPrinted('port-taken', project, {
      only: ['convoy dev', 'convoy start', 'createConvoy'],
      env: { PORT: port },
      hide: { [port]: '<port>' },
    });
  });
});

describe('row-level security', () => {
  const rls = (role: string) => ({
    'convoy/server.ts': `export const rls = { role: ${JSON.stringify(role)}, settings: () => ({}) };`,
  });

  test('names a role that does not exist', async () => {
    const project = await (await startable(rls('app_user'))).build();
    await project.app.run(['migrate']);
    const login = new URL(project.app.databaseUrl).username;
    await expectPrinted('row-security', project, {
      only: ['convoy dev', 'convoy start', 'createConvoy'],
      hide: { [`to ${login}`]: 'to <login>' },
    });
  });

  test('names a role that cannot be created', async () => {
    const project = await startable(rls('public'));
    await expectPrinted('row-security-malformed', project, { only: ['convoy dev', 'convoy migrate'] });
  });
});

describe('the project', () => {
  test('has no package.json', async () => {
    const project = await startable({ 'package.json': null, 'convoy/schema.ts': null });
    await expectPrinted('no-package-json', project, { only: ['convoy dev', 'convoy start', 'convoy migrate'] });
  });

  test('is CommonJS, and starts in each way', async () => {
    const project = await (await startable({ 'package.json': '{ "name": "app" }' })).build();
    expect(await project.app.run(['migrate'])).toMatchObject({ code: 0 });
    expect(await project.app.run(['dev', '--once'])).toMatchObject({ code: 0 });
    const { url } = await project.app.serve();
    expect(await call(url, 'query/notes.list')).toEqual({ ok: true, data: [] });
    await project.app.write({
      'server.js': `const { createConvoy } = require('@avvos/convoy/node');
createConvoy({ program: require('node:url').pathToFileURL('convoy-build/program.mjs').href, databaseUrl: process.env.DATABASE_URL })
  .then((convoy) => convoy.close())
  .then(() => console.log('closed'));`,
    });
    const started = spawnSync(process.execPath, ['server.js'], {
      cwd: project.app.root,
      encoding: 'utf8',
      env: { ...process.env, DATABASE_URL: project.app.databaseUrl },
    });
    expect(started.stdout).toBe('closed\n');
  });

  test('has functions in CommonJS, and starts', async () => {
    const project = await startable({
      'package.json': '{ "name": "app" }',
      'convoy/functions/notes.ts': null,
      'convoy/functions/old.js': `const { query } = require('../_generated/server');
exports.hello = query({ handler: () => 'hi' });`,
    });
    await project.build();
    expect(await project.app.run(['migrate'])).toMatchObject({ code: 0 });
    const { url } = await project.app.serve();
    expect(await call(url, 'query/old.hello')).toEqual({ ok: true, data: 'hi' });
  });

  test.each([
    ['schema-throws', `throw new Error('no colour');\n`],
    ['schema-missing-export', `export const tables = {};\n`],
    ['schema-syntax', notes.replace('});', '')],
    ['schema-import', `import { thing } from './nothing';\nexport default thing;\n`],
    ['schema-transform', notes.replace('z.string()', 'z.date()')],
  ])('has a schema that fails to load: %s', async (name, schema) => {
    const project = await startable({ 'convoy/schema.ts': schema });
    await expectPrinted(name, project, { only: ['convoy dev', 'convoy migrate'] });
  });
});
