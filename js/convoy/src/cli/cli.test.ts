import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { makeProject, messagesFunctions, messagesSchema, type TestProject } from './code/project.test-kit.js';
import { makeProgram, type Program } from './program.test-kit.js';

let program: Program;
let project: TestProject;
beforeAll(async () => {
  program = await makeProgram();
});
afterAll(() => program.remove());
beforeEach(async () => {
  project = await makeProject({
    'convoy/schema.ts': messagesSchema,
    'convoy/functions/messages.ts': messagesFunctions,
  });
});
afterEach(() => project.remove());

async function convoy(...args: string[]): Promise<{ code: number | string | null; output: string }> {
  // Commands that do not need the engine must not try to load it.
  const running = program.run(args, project.root, { CONVOY_NATIVE_PATH: '/nowhere/convoy.node' });
  const code = await running.ended;
  return { code, output: running.output };
}

describe('the command line', () => {
  it.each([
    [['genrate'], /unknown command 'genrate'.*Did you mean generate\?/s],
    [['generate', '--rot', '.'], /unknown option '--rot'.*Did you mean --root\?/s],
    [['dev', '--prot', '1'], /unknown option '--prot'.*Did you mean --port\?/s],
    [['generate', '--port', '1'], /unknown option '--port'/],
    [['dev', '--port', 'http'], /--port is "http", which is not a port/],
  ])('refuses %j and suggests the closest name', async (args, message) => {
    const { code, output } = await convoy(...args);
    expect(output).toMatch(message);
    expect(code).toBe(1);
  });

  it('prints its version and its commands', async () => {
    expect((await convoy('--version')).output).toMatch(/^\d+\.\d+\.\d+\n$/);
    const { code, output } = await convoy('--help');
    expect(output).toMatch(/dev\|init.*generate/s);
    expect(code).toBe(0);
  });
});

describe('convoy dev without an engine', () => {
  it('names it and starts nothing: no database, no files', async () => {
    await project.write({ 'convoy/schema.ts': null });
    const { code, output } = await convoy('dev', '--once');
    expect(output).toBe('✖ CONVOY_NATIVE_PATH is /nowhere/convoy.node, but this file does not exist.\n');
    expect(code).toBe(1);
    expect((await readdir(project.root)).sort()).toEqual(['convoy', 'node_modules', 'package.json']);
    expect(await readdir(project.layout.convoyFolder)).toEqual(['functions']);
  });
});

describe('the commands for data', () => {
  it.each(['export', 'import', 'seed', 'check', 'doctor'])('%s documents its flags and exit codes', async (name) => {
    const { code, output } = await convoy(name, '--help');
    expect(output).toMatch(/--root <folder>/);
    expect(output).toMatch(/--json +print the result as JSON/);
    expect(output).toMatch(/Exits with 0, or with 1 /);
    expect(code).toBe(0);
  });

  it('report an engine that cannot be loaded, as JSON if that was asked for', async () => {
    await convoy('generate');
    const env = { CONVOY_NATIVE_PATH: '/nowhere/convoy.node', DATABASE_URL: 'postgres://127.0.0.1:1/none' };
    for (const args of [['check'], ['export', 'out']]) {
      const running = program.run([...args, '--json'], project.root, env);
      let stdout = '';
      running.process.stdout?.on('data', (chunk: string) => {
        stdout += chunk;
      });
      expect(await running.ended).toBe(1);
      expect(JSON.parse(stdout)).toEqual({
        error: { message: 'CONVOY_NATIVE_PATH is /nowhere/convoy.node, but this file does not exist.' },
      });
    }
    const doctor = await convoy('doctor', '--port', '0');
    expect(doctor.output).toMatch(/engine: CONVOY_NATIVE_PATH is \/nowhere/);
    expect(doctor.code).toBe(1);
  });
});

describe('convoy generate', () => {
  it('writes the generated files without database and engine, and reports when they are up to date', async () => {
    expect(await convoy('generate')).toEqual({
      code: 0,
      output: expect.stringContaining('Wrote dataModel.ts, server.ts, api.ts'),
    });
    const api = await readFile(path.join(project.layout.generatedFolder, 'api.ts'), 'utf8');
    expect(api).toContain(`list: makeQueryRef('messages.list')`);
    expect(await convoy('generate', '--root', project.root)).toEqual({
      code: 0,
      output: expect.stringContaining('is up to date (2 functions, 1 table)'),
    });
  });

  it('exits although the code keeps timers', async () => {
    await project.write({ 'convoy/functions/clock.ts': 'setInterval(() => {}, 1000);' });
    expect((await convoy('generate')).code).toBe(0);
  });

  it('shows the location of an import that a package does not export', async () => {
    const imports = `import {\n  defineSchema,\n  defineScheme,\n} from '@avvos/convoy';\n`;
    await project.write({ 'convoy/functions/odd.ts': `${imports}export const x = [defineSchema, defineScheme];` });
    const { code, output } = await convoy('generate');
    expect(output).toContain(`does not provide an export named 'defineScheme'`);
    expect(output).toContain('convoy/functions/odd.ts:3:2:');
    expect(code).toBe(1);
  });

  it('shows the location of an error that a module throws', async () => {
    await project.write({ 'convoy/functions/odd.ts': `const a: { b?: { c: 1 } } = {};\n\nexport const x = a.b!.c;` });
    expect((await convoy('generate')).output).toContain('convoy/functions/odd.ts:3:22:');
  });
});
