import { readFile } from 'node:fs/promises';
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

async function convoy(...args: string[]): Promise<{ code: number | string | null; printed: string }> {
  // Whatever does without the engine must not even look for it.
  const running = program.run(args, project.root, { CONVOY_NATIVE_PATH: '/nowhere/convoy.node' });
  const code = await running.ended;
  return { code, printed: running.printed };
}

describe('the command line', () => {
  it.each([
    [['genrate'], /unknown command 'genrate'.*Did you mean generate\?/s],
    [['generate', '--rot', '.'], /unknown option '--rot'.*Did you mean --root\?/s],
    [['dev', '--prot', '1'], /unknown option '--prot'.*Did you mean --port\?/s],
    [['generate', '--port', '1'], /unknown option '--port'/],
    [['dev', '--port', 'http'], /--port is "http", which is no port/],
  ])('refuses %j, naming what is meant', async (args, message) => {
    const { code, printed } = await convoy(...args);
    expect(printed).toMatch(message);
    expect(code).toBe(1);
  });

  it('tells its version and its commands', async () => {
    expect((await convoy('--version')).printed).toMatch(/^\d+\.\d+\.\d+\n$/);
    const { code, printed } = await convoy('--help');
    expect(printed).toMatch(/dev\|init.*generate/s);
    expect(code).toBe(0);
  });
});

describe('convoy generate', () => {
  it('writes the generated files without database and engine, and says when there is nothing to do', async () => {
    expect(await convoy('generate')).toEqual({
      code: 0,
      printed: expect.stringContaining('Wrote dataModel.ts, server.ts, api.ts'),
    });
    const api = await readFile(path.join(project.layout.generatedFolder, 'api.ts'), 'utf8');
    expect(api).toContain(`list: makeQueryRef('messages.list')`);
    expect(await convoy('generate', '--root', project.root)).toEqual({
      code: 0,
      printed: expect.stringContaining('is up to date (2 functions, 1 table)'),
    });
  });

  it('ends although the code keeps timers', async () => {
    await project.write({ 'convoy/functions/clock.ts': 'setInterval(() => {}, 1000);' });
    expect((await convoy('generate')).code).toBe(0);
  });

  it('tells the place of an import that a package does not have', async () => {
    const imports = `import {\n  defineSchema,\n  defineScheme,\n} from '@avvos/convoy';\n`;
    await project.write({ 'convoy/functions/odd.ts': `${imports}export const x = [defineSchema, defineScheme];` });
    const { code, printed } = await convoy('generate');
    expect(printed).toContain(`does not provide an export named 'defineScheme'`);
    expect(printed).toContain('convoy/functions/odd.ts:3:2:');
    expect(code).toBe(1);
  });

  it('tells the place of what a module throws', async () => {
    await project.write({ 'convoy/functions/odd.ts': `const a: { b?: { c: 1 } } = {};\n\nexport const x = a.b!.c;` });
    expect((await convoy('generate')).printed).toContain('convoy/functions/odd.ts:3:22:');
  });
});
