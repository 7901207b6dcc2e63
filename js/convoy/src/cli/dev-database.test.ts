/** `convoy dev` with a database that it cannot use, and the files that a failed start leaves behind. */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { makeProject, messagesFunctions, messagesSchema, type TestProject } from './code/project.test-kit.js';
import { engine, makeProgram, type Program, type RunningProgram } from './program.test-kit.js';

let program: Program;
let project: TestProject;
let running: RunningProgram[];
beforeAll(async () => {
  program = await makeProgram();
});
afterAll(() => program.remove());
beforeEach(async () => {
  project = await newProject();
  running = [];
});
afterEach(async () => {
  for (const each of running) {
    each.process.kill('SIGKILL');
    await each.ended;
  }
  await project.remove();
});

const newProject = () =>
  makeProject({ 'convoy/schema.ts': messagesSchema, 'convoy/functions/messages.ts': messagesFunctions });

function run(args: readonly string[], env: Readonly<Record<string, string>> = {}, cwd = project.root): RunningProgram {
  const each = program.run(args, cwd, env);
  running.push(each);
  return each;
}

const dev = (env: Readonly<Record<string, string>> = {}) => run(['dev', '--port', '0'], env);

const address = async (convoy: RunningProgram) => (await convoy.prints(/Server +(\S+)/))[1] ?? '';

async function call(url: string, body: unknown): Promise<unknown> {
  const options = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  return (await fetch(url, options)).json();
}

describe.skipIf(engine === null)('a database that cannot be used', { timeout: 60_000 }, () => {
  let other: TestProject;
  let url: URL;
  beforeEach(async () => {
    other = await newProject();
    const convoy = run(['dev', '--port', '0'], {}, other.root);
    url = new URL((await convoy.prints(/Postgres +(postgres:\/\/\S+)/))[1] ?? '');
  });
  afterEach(async () => {
    for (const each of running) {
      each.process.kill('SIGKILL');
      await each.ended;
    }
    await other.remove();
  });

  const named = (name: string) => Object.assign(new URL(url), { pathname: `/${name}` }).href;

  it('is reported once, and retried until .env or the database is fixed', async () => {
    await project.write({ '.env': 'DATABASE_URL=foo\n' });
    const convoy = dev();
    await convoy.prints(/DATABASE_URL\) is not usable: it does not begin with postgres:\/\//);
    await convoy.prints(/Not serving yet/);

    await project.write({ '.env': `DATABASE_URL=${url.href.replace('postgres://', 'postgres://%zz')}\n` });
    await convoy.prints(/there is a % at character 12 that two hexadecimal digits do not follow/);

    const wrong = Object.assign(new URL(url), { password: 'not-the-password' });
    await project.write({ '.env': `DATABASE_URL=${wrong.href}\n` });
    await convoy.prints(/\.env was reloaded: DATABASE_URL changed/);
    await convoy.prints(/refused the password of role/);
    expect(convoy.output).not.toContain('not-the-password');

    await project.write({ '.env': `DATABASE_URL=${named('first')}\n` });
    const api = await address(convoy);
    await call(`${api}/mutation/messages.send`, { body: 'hi' });
    expect(await call(`${api}/query/messages.list`, {})).toMatchObject({ ok: true, data: [{ body: 'hi' }] });

    await project.write({ '.env': `DATABASE_URL=${named('second')}?sslpassword=s3cret\n` });
    expect(await address(convoy)).toBe(api);
    expect(await call(`${api}/query/messages.list`, {})).toEqual({ ok: true, data: [] });
    expect(convoy.output).not.toContain('s3cret');
    expect(convoy.output).toContain('DATABASE_URL has the parameter sslpassword, which Convoy does not know');
  });

  it('is used as soon as it can be reached', async () => {
    const proxy = createServer((near) => {
      const far = connect(Number(url.port), url.hostname);
      near.pipe(far).pipe(near);
      near.on('error', () => far.destroy());
      far.on('error', () => near.destroy());
    }).listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    const { port } = proxy.address() as AddressInfo;
    proxy.close();
    await once(proxy, 'close');
    const convoy = dev({ DATABASE_URL: Object.assign(new URL(named('late')), { port: String(port) }).href });
    await convoy.prints(/Nothing listens at 127\.0\.0\.1/);
    proxy.listen(port, '127.0.0.1');
    await convoy.prints(/The database is available now, created table messages/);
    expect(await call(`${await address(convoy)}/query/messages.list`, {})).toEqual({ ok: true, data: [] });
    expect(convoy.output.match(/Nothing listens at/g)).toHaveLength(1);
    convoy.process.kill('SIGKILL');
    await convoy.ended;
    proxy.close();
  });

  it('fails the start with --once', async () => {
    const wrong = Object.assign(new URL(url), { password: 'not-the-password' });
    const convoy = run(['dev', '--once'], { DATABASE_URL: wrong.href });
    expect(await convoy.ended).toBe(1);
    expect(convoy.output).toContain('refused the password of role');
    expect(existsSync(path.join(project.root, '.convoy'))).toBe(false);
  });
});

describe.skipIf(engine === null)('a failed start', { timeout: 60_000 }, () => {
  const leavesNoState = async (convoy: RunningProgram, message: RegExp) => {
    expect(await convoy.ended).toBe(1);
    expect(convoy.output).toMatch(message);
    expect(existsSync(path.join(project.root, '.convoy'))).toBe(false);
  };

  it('leaves no .convoy behind', async () => {
    await leavesNoState(run(['dev', '--prot', '1']), /--port/);
    await leavesNoState(run(['dev', '--port', 'x']), /--port is "x"/);
    await leavesNoState(run(['dev'], { PORT: '99999' }), /PORT is "99999"/);
    await leavesNoState(dev({ DATABASE_URL: 'foo' }), /not usable: it does not begin with postgres:/);
    await leavesNoState(dev({ DATABASE_URL: 'mysql://a:s3cret@h/d' }), /begins with mysql:/);
    await leavesNoState(dev({ CONVOY_NATIVE_PATH: '/no/such/engine.node' }), /\/no\/such\/engine\.node/);
    await project.write({ 'convoy/schema.ts': `${messagesSchema}(` });
    await leavesNoState(run(['dev', '--once']), /convoy\/schema\.ts:\d+:\d+:/);
    await leavesNoState(run(['generate']), /convoy\/schema\.ts:\d+:\d+:/);
    await project.write({ 'convoy/schema.ts': 'export default 1;' });
    await leavesNoState(run(['dev', '--once']), /exports no schema/);
  });

  it('creates no folder and no schema for a mistyped name', async () => {
    const root = run(['dev', '--once', '--root', 'nowhere']);
    expect(await root.ended).toBe(1);
    expect(root.output).toContain('nowhere has no package.json');
    expect(existsSync(path.join(project.root, 'nowhere'))).toBe(false);
    await leavesNoState(
      run(['dev', '--once', '--schema', 'convoy/shema.ts']),
      /no convoy\/shema\.ts in \S+, which --schema names; there is convoy\/schema\.ts\./,
    );
    expect(existsSync(path.join(project.root, 'convoy/shema.ts'))).toBe(false);
  });

  it('keeps an existing .convoy', async () => {
    await project.write({ '.convoy/mine': 'kept' });
    const convoy = dev({ DATABASE_URL: 'foo' });
    expect(await convoy.ended).toBe(1);
    expect(existsSync(path.join(project.root, '.convoy/mine'))).toBe(true);
  });
});
