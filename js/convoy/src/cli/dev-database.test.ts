/** What `convoy dev` does about a database that it cannot use, and what a refused start leaves behind. */
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

const address = async (convoy: RunningProgram) => (await convoy.says(/Server +(\S+)/))[1] ?? '';

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
    url = new URL((await convoy.says(/Postgres +(postgres:\/\/\S+)/))[1] ?? '');
  });
  afterEach(async () => {
    for (const each of running) {
      each.process.kill('SIGKILL');
      await each.ended;
    }
    await other.remove();
  });

  const named = (name: string) => Object.assign(new URL(url), { pathname: `/${name}` }).href;

  it('is told once, and waited for until .env or the database is right', async () => {
    await project.write({ '.env': 'DATABASE_URL=foo\n' });
    const convoy = dev();
    await convoy.says(/DATABASE_URL\) is not usable: it does not begin with postgres:\/\//);
    await convoy.says(/Nothing is served yet/);

    await project.write({ '.env': `DATABASE_URL=${url.href.replace('postgres://', 'postgres://%zz')}\n` });
    await convoy.says(/there is a % at character 12 that two hexadecimal digits do not follow/);

    const wrong = Object.assign(new URL(url), { password: 'not-the-password' });
    await project.write({ '.env': `DATABASE_URL=${wrong.href}\n` });
    await convoy.says(/\.env was read again: DATABASE_URL changed/);
    await convoy.says(/refused the password of role/);
    expect(convoy.printed).not.toContain('not-the-password');

    await project.write({ '.env': `DATABASE_URL=${named('first')}\n` });
    const api = await address(convoy);
    await call(`${api}/mutation/messages.send`, { body: 'hi' });
    expect(await call(`${api}/query/messages.list`, {})).toMatchObject({ ok: true, data: [{ body: 'hi' }] });

    await project.write({ '.env': `DATABASE_URL=${named('second')}?sslpassword=s3cret\n` });
    expect(await address(convoy)).toBe(api);
    expect(await call(`${api}/query/messages.list`, {})).toEqual({ ok: true, data: [] });
    expect(convoy.printed).not.toContain('s3cret');
    expect(convoy.printed).toContain('DATABASE_URL has the parameter sslpassword, which Convoy does not know');
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
    await convoy.says(/nothing listens at 127\.0\.0\.1/);
    proxy.listen(port, '127.0.0.1');
    await convoy.says(/The database can be used now, created table messages/);
    expect(await call(`${await address(convoy)}/query/messages.list`, {})).toEqual({ ok: true, data: [] });
    expect(convoy.printed.match(/nothing listens at/g)).toHaveLength(1);
    convoy.process.kill('SIGKILL');
    await convoy.ended;
    proxy.close();
  });

  it('ends a start that nobody watches', async () => {
    const wrong = Object.assign(new URL(url), { password: 'not-the-password' });
    const convoy = run(['dev', '--once'], { DATABASE_URL: wrong.href });
    expect(await convoy.ended).toBe(1);
    expect(convoy.printed).toContain('refused the password of role');
    expect(existsSync(path.join(project.root, '.convoy'))).toBe(false);
  });
});

describe.skipIf(engine === null)('a refused start', { timeout: 60_000 }, () => {
  const leavesNothing = async (convoy: RunningProgram, said: RegExp) => {
    expect(await convoy.ended).toBe(1);
    expect(convoy.printed).toMatch(said);
    expect(existsSync(path.join(project.root, '.convoy'))).toBe(false);
  };

  it('leaves no .convoy behind', async () => {
    await leavesNothing(run(['dev', '--prot', '1']), /--port/);
    await leavesNothing(run(['dev', '--port', 'x']), /--port is "x"/);
    await leavesNothing(run(['dev'], { PORT: '99999' }), /PORT is "99999"/);
    await leavesNothing(dev({ DATABASE_URL: 'foo' }), /not usable: it does not begin with postgres:/);
    await leavesNothing(dev({ DATABASE_URL: 'mysql://a:s3cret@h/d' }), /begins with mysql:/);
    await leavesNothing(dev({ CONVOY_NATIVE_PATH: '/no/such/engine.node' }), /\/no\/such\/engine\.node/);
    await project.write({ 'convoy/schema.ts': `${messagesSchema}(` });
    await leavesNothing(run(['dev', '--once']), /convoy\/schema\.ts:\d+:\d+:/);
    await leavesNothing(run(['generate']), /convoy\/schema\.ts:\d+:\d+:/);
    await project.write({ 'convoy/schema.ts': 'export default 1;' });
    await leavesNothing(run(['dev', '--once']), /exports no schema/);
  });

  it('makes no folder and no schema for a name that is mistyped', async () => {
    const root = run(['dev', '--once', '--root', 'nowhere']);
    expect(await root.ended).toBe(1);
    expect(root.printed).toContain('nowhere has no package.json');
    expect(existsSync(path.join(project.root, 'nowhere'))).toBe(false);
    await leavesNothing(
      run(['dev', '--once', '--schema', 'convoy/shema.ts']),
      /no convoy\/shema\.ts in \S+, which --schema names; there is convoy\/schema\.ts\./,
    );
    expect(existsSync(path.join(project.root, 'convoy/shema.ts'))).toBe(false);
  });

  it('leaves what was there', async () => {
    await project.write({ '.convoy/mine': 'kept' });
    const convoy = dev({ DATABASE_URL: 'foo' });
    expect(await convoy.ended).toBe(1);
    expect(existsSync(path.join(project.root, '.convoy/mine'))).toBe(true);
  });
});
