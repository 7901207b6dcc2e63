/** `convoy dev` end to end: the real program, engine and Postgres, and files that change. */
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { makeProject, messagesFunctions, messagesSchema, type TestProject } from './code/project.test-kit.js';
import { isAlive } from './postgres/processes.js';
import { engine, makeProgram, type Program, type RunningProgram, results } from './program.test-kit.js';

let program: Program;
let project: TestProject;
let running: RunningProgram[];
beforeAll(async () => {
  program = await makeProgram();
});
afterAll(() => program.remove());
beforeEach(async () => {
  project = await makeProject({ 'convoy/functions/messages.ts': messagesFunctions });
  running = [];
});
afterEach(async () => {
  for (const each of running) {
    each.process.kill('SIGKILL');
    await each.ended;
  }
  await project.remove();
});

function dev(...flags: string[]): RunningProgram {
  const each = program.run(['dev', '--port', '0', ...flags], project.root);
  running.push(each);
  return each;
}

const address = async (convoy: RunningProgram) => (await convoy.prints(/Server +(\S+)/))[1] ?? '';

async function call(url: string, body: unknown): Promise<unknown> {
  const options = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  return (await fetch(url, options)).json();
}

describe.skipIf(engine === null)('convoy dev', { timeout: 60_000 }, () => {
  it('needs only functions: it creates schema, database and generated files, serves, and exits with 0', async () => {
    await project.write({
      'convoy/functions/messages.ts': `import { query } from '../_generated/server';\nexport const hi = query({ handler: () => 'hi' });`,
    });
    const convoy = dev();
    await convoy.prints(/Created convoy\/schema\.ts/);
    const [, pid] = await convoy.prints(/Postgres is ready \(pid (\d+)/);
    const api = await address(convoy);
    expect(await call(`${api}/query/messages.hi`, {})).toEqual({ ok: true, data: 'hi' });
    // One Ctrl-C may arrive twice: from the terminal, and passed on by npm.
    convoy.process.kill('SIGINT');
    convoy.process.kill('SIGINT');
    expect(await convoy.ended).toBe(0);
    expect(isAlive(Number(pid))).toBe(false);
  });

  it('loads changed code, keeps the last good code while there are errors, and reports when they are fixed', async () => {
    await project.write({ 'convoy/schema.ts': messagesSchema });
    const convoy = dev();
    const api = await address(convoy);
    const hello = (text: string) =>
      `import { query } from '../_generated/server';\nexport const hello = query({ handler: () => ${text} });\n`;
    const greeting = () => call(`${api}/query/greet.hello`, {});

    await project.write({ 'convoy/functions/greet.ts': hello(`'one'`) });
    await convoy.prints(/convoy\/functions\/greet\.ts changed: loaded in \d+ ms, wrote api\.ts/);
    expect(await greeting()).toEqual({ ok: true, data: 'one' });

    const stream = results(api, 'greet.hello');
    expect((await stream.next()).value).toBe('one');

    await project.write({ 'convoy/functions/greet.ts': hello('(') });
    await convoy.prints(/convoy\/functions\/greet\.ts:2:\d+:/);
    await convoy.prints(/The last good code keeps serving/);
    expect(await greeting()).toEqual({ ok: true, data: 'one' });

    await project.write({ 'convoy/functions/greet.ts': hello(`'two'`) });
    await convoy.prints(/Fixed/);
    expect(await greeting()).toEqual({ ok: true, data: 'two' });
    expect((await stream.next()).value).toBe('two');

    await project.write({ 'convoy/schema.ts': messagesSchema.replace('z.string()', 'z.date()') });
    await convoy.prints(/messages\.body: Date is not JSON/);
    await convoy.prints(/convoy\/schema\.ts:5:\d+:/);
    await convoy.prints(/The last good code keeps serving/);

    const two = `messages: defineTable({ body: z.string() }),\n  rooms: defineTable({ name: z.string() }),`;
    await project.write({ 'convoy/schema.ts': messagesSchema.replace(/ {2}messages.*/, `  ${two}`) });
    await convoy.prints(/Fixed.*created table rooms/);
  });

  it('waits for the first good code when there is none', async () => {
    await project.write({ 'convoy/schema.ts': `${messagesSchema}(` });
    const convoy = dev();
    await convoy.prints(/Not serving yet/);
    await project.write({ 'convoy/schema.ts': messagesSchema });
    expect(await call(`${await address(convoy)}/query/messages.list`, {})).toEqual({ ok: true, data: [] });
  });

  it('reports that Postgres was killed, restarts it, and loses no data', async () => {
    await project.write({ 'convoy/schema.ts': messagesSchema });
    const convoy = dev('--no-watch');
    const [, pid] = await convoy.prints(/Postgres is ready \(pid (\d+)/);
    const api = await address(convoy);
    const stream = results(api, 'messages.list');
    expect((await stream.next()).value).toEqual([]);
    expect(await call(`${api}/mutation/messages.send`, { body: 'kept' })).toMatchObject({ ok: true });
    expect((await stream.next()).value).toMatchObject([{ body: 'kept' }]);
    process.kill(Number(pid), 'SIGKILL');
    await convoy.prints(/ended unexpectedly: killed by SIGKILL/);
    await convoy.prints(/Postgres is ready/);
    // While Postgres is away, calls fail with UNAVAILABLE only; then they succeed again.
    const untilDone = async (path: string, args: object) => {
      for (;;) {
        const answer = (await call(`${api}/${path}`, args)) as {
          ok: boolean;
          data?: unknown;
          error?: { code: string };
        };
        if (answer.ok) return answer.data;
        expect(answer.error?.code).toBe('UNAVAILABLE');
      }
    };
    expect(await untilDone('query/messages.list', {})).toMatchObject([{ body: 'kept' }]);
    await untilDone('mutation/messages.send', { body: 'after' });
    for await (const messages of stream) {
      if (Array.isArray(messages) && messages.length >= 2) break;
    }
  });

  it('logs the error message of Postgres, without a line of its source code', async () => {
    await project.write({
      'convoy/schema.ts': messagesSchema,
      'convoy/functions/bad.ts': `import { sql } from '@avvos/convoy/sql';
import { query } from '../_generated/server';
export const typo = query({ handler: (ctx) => ctx.db.raw(sql\`select * from mesages\`) });
`,
    });
    const convoy = dev();
    const refused = { code: 'INTERNAL', message: '`bad.typo`: relation "mesages" does not exist (42P01).' };
    const answer = await call(`${await address(convoy)}/query/bad.typo`, {});
    expect(answer).toMatchObject({ ok: false, error: refused });
    await convoy.prints(/cause=relation "mesages" does not exist \(42P01\)\n/);
  });

  it('brings everything up to date and exits with --once', async () => {
    await project.write({ 'convoy/schema.ts': messagesSchema });
    const convoy = dev('--once');
    expect(await convoy.ended).toBe(0);
    expect(convoy.output).toContain('created table messages');
    expect(convoy.output).not.toContain('Server');
    const again = dev('--once');
    expect(await again.ended).toBe(0);
    expect(again.output).not.toContain('created');
  });

  it('exits with 1 on an error with --no-watch', async () => {
    await project.write({ 'convoy/schema.ts': `${messagesSchema}(` });
    const convoy = dev('--no-watch');
    expect(await convoy.ended).toBe(1);
    expect(convoy.output).toMatch(/convoy\/schema\.ts:\d+:\d+:/);
  });

  it('names the owner of a taken port before it starts anything', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const convoy = program.run(['dev', '--port', String(port)], project.root);
    expect(await convoy.ended).toBe(1);
    expect(convoy.output).toContain(`Port ${port} is in use by`);
    expect(convoy.output).toContain(`(pid ${process.pid})`);
    expect(convoy.output).not.toContain('Postgres');
    server.close();
  });

  it('exits at once on the second signal', async () => {
    await project.write({
      'convoy/schema.ts': messagesSchema,
      'convoy/functions/slow.ts': `import { query } from '../_generated/server';\nexport const never = query({ handler: () => {\n  console.log('in flight');\n  return new Promise(() => {});\n} });`,
    });
    const convoy = dev();
    const api = await address(convoy);
    const hanging = call(`${api}/query/slow.never`, {}).catch(() => null);
    await convoy.prints(/in flight/);
    convoy.process.kill('SIGTERM');
    await convoy.prints(/Stopping/);
    const pressing = setInterval(() => convoy.process.kill('SIGTERM'), 100);
    expect(await convoy.ended).toBe(130);
    clearInterval(pressing);
    await hanging;
  });
});
