/** The real `convoy dev` while code hangs, throws asynchronously, and prints to a pipe that is not read. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { makeProject, messagesFunctions, messagesSchema, type TestProject } from './code/project.test-kit.js';
import { engine, makeProgram, type Program, type RunningProgram, results } from './program.test-kit.js';

let program: Program;
let project: TestProject;
let convoy: RunningProgram;
let api: string;
beforeAll(async () => {
  program = await makeProgram();
});
afterAll(() => program.remove());
beforeEach(async () => {
  project = await makeProject({
    'convoy/schema.ts': messagesSchema,
    'convoy/functions/messages.ts': messagesFunctions,
    'convoy/functions/bad.ts': bad('return 1'),
  });
  convoy = program.run(['dev', '--port', '0'], project.root);
  api = (await convoy.prints(/Server +(\S+)/))[1] ?? '';
});
afterEach(async () => {
  convoy.process.kill('SIGKILL');
  await convoy.ended;
  await project.remove();
});

const LONG = process.env.CONVOY_TEST_LONG === '1';
const BLOCKING = [
  ['a loop', 'for (;;);'],
  ['an expression', `return /^(a+)+$/.test('a'.repeat(60) + '!');`],
] as const;

const bad = (body: string, before = '') =>
  `import { query } from '../_generated/server';\n${before}\nexport const run = query({ handler: (): unknown => { ${body} } });\n`;

async function call(
  path: string,
  body: object = {},
): Promise<{ ok: boolean; data?: unknown; error?: { code: string } }> {
  const options = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  return (await (await fetch(`${api}/${path}`, options)).json()) as Awaited<ReturnType<typeof call>>;
}

/** Waits until a stream of `messages.list` shows these bodies, in any order. */
async function shows(stream: AsyncGenerator<unknown>, bodies: string[]): Promise<void> {
  for await (const shown of stream) {
    const found = (shown as { body: string }[]).map(({ body }) => body).sort();
    if (JSON.stringify(found) === JSON.stringify(bodies)) return;
  }
}

describe.skipIf(engine === null)('convoy dev', { timeout: 90_000 }, () => {
  it.each(BLOCKING)('keeps serving while %s blocks a thread, names it, and recovers on save', async (_, body) => {
    const stream = results(api, 'messages.list');
    await shows(stream, []);
    await project.write({ 'convoy/functions/bad.ts': bad(body) });
    await convoy.prints(/bad\.ts changed: loaded/);
    const hanging = call('query/bad.run');
    await convoy.prints(/bad\.run has kept its thread busy since \d\d:\d\d:\d\d UTC/);
    expect(await call('mutation/messages.send', { body: 'a' })).toMatchObject({ ok: true });
    // `shows` has closed the first stream by returning.
    const next = results(api, 'messages.list');
    await shows(next, ['a']);
    await project.write({ 'convoy/functions/bad.ts': bad('return 2') });
    await convoy.prints(/bad\.ts changed: loaded/);
    expect(await call('query/bad.run')).toEqual({ ok: true, data: 2 });
    // The hanging call ran on the old code, whose thread ended with the save.
    expect(await hanging).toMatchObject({ ok: false });
  });

  it.each(LONG ? BLOCKING : BLOCKING.slice(0, 1))('stops on SIGTERM while %s blocks a thread', async (_, body) => {
    await project.write({ 'convoy/functions/bad.ts': bad(body) });
    await convoy.prints(/bad\.ts changed: loaded/);
    const hanging = call('query/bad.run').catch(() => null);
    await convoy.prints(/bad\.run has kept its thread busy/);
    const began = performance.now();
    convoy.process.kill('SIGTERM');
    expect(await convoy.ended).toBe(0);
    expect(performance.now() - began).toBeLessThan(12_000);
    await hanging;
  });

  it('keeps serving when a timer throws or a promise is unhandled, in a function or outside, and names the function', async () => {
    const boom = `setTimeout(() => { throw new Error('a timer threw'); }); return new Promise((done) => setTimeout(done, 300_000));`;
    await project.write({ 'convoy/functions/bad.ts': bad(boom) });
    await convoy.prints(/changed: loaded/);
    expect(await call('query/bad.run')).toMatchObject({ ok: false, error: { code: 'UNAVAILABLE' } });
    await convoy.prints(/An uncaught error in a callback started by bad\.run: .*a timer threw/s);
    expect(await call('mutation/messages.send', { body: 'a' })).toMatchObject({ ok: true });

    const outside = `setTimeout(() => { void Promise.reject(new Error('outside of functions')); }, 100);`;
    await project.write({ 'convoy/functions/bad.ts': bad('return 3', outside) });
    await convoy.prints(/outside of functions/);
    await project.write({ 'convoy/functions/bad.ts': bad('return 4') });
    // Each restart of the thread may have printed that the code was loaded.
    while ((await call('query/bad.run')).data !== 4);
    expect(convoy.process.exitCode).toBeNull();
  });

  it('refuses code that hangs while it is loaded, and accepts the next', async () => {
    await project.write({ 'convoy/functions/bad.ts': bad('return 5', 'for (;;);') });
    await convoy.prints(/has not been loaded after 10 seconds/);
    await convoy.prints(/The last good code keeps serving/);
    expect(await call('query/bad.run')).toEqual({ ok: true, data: 1 });
    await project.write({ 'convoy/functions/bad.ts': bad('return 6') });
    await convoy.prints(/Fixed/);
    expect(await call('query/bad.run')).toEqual({ ok: true, data: 6 });
  });

  it('answers while its output and that of the functions are not read', async () => {
    await project.write({
      'convoy/functions/bad.ts': bad(`console.log('x'.repeat(200_000)); console.error('y'.repeat(200_000)); return 7`),
    });
    await convoy.prints(/changed: loaded/);
    convoy.process.stdout?.removeAllListeners('data').pause();
    convoy.process.stderr?.removeAllListeners('data').pause();
    for (let n = 0; n < 20; n++) expect(await call('query/bad.run')).toEqual({ ok: true, data: 7 });
    await project.write({ 'convoy/functions/bad.ts': bad('return 8') });
    while ((await call('query/bad.run')).data !== 8);
    convoy.process.stdout?.destroy();
    convoy.process.stderr?.destroy();
    await project.write({ 'convoy/functions/bad.ts': bad(`console.log('no reader'); return 9`) });
    while ((await call('query/bad.run')).data !== 9);
    convoy.process.kill('SIGTERM');
    expect(await convoy.ended).toBe(0);
  });
});
