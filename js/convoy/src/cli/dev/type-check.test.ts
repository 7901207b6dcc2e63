import { mkdir, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { makeProject } from '../code/project.test-kit.js';
import { createTerminal } from '../terminal.js';
import { checkTypes, TypeChecks } from './type-check.js';

describe('the output of tsc', () => {
  it('is reported per check, with positions that editors can open, and only when it differs', () => {
    const reports: (readonly string[])[] = [];
    const checks = new TypeChecks((errors) => reports.push([...errors]));
    const check = (...lines: string[]) => {
      checks.add('10:00:00 AM - Starting compilation in watch mode...');
      for (const line of lines) checks.add(line);
      checks.add(`10:00:01 AM - Found ${lines.length} errors. Watching for file changes.`);
    };
    const error = "convoy/functions/a.ts(1,7): error TS2322: Type 'A' is not assignable to type 'B'.";
    check();
    check(error, "  Property 'x' is missing.");
    check(error, "  Property 'x' is missing.");
    check();
    expect(reports).toEqual([
      ["convoy/functions/a.ts:1:7: TS2322: Type 'A' is not assignable to type 'B'.\n  Property 'x' is missing."],
      [],
    ]);
  });
});

describe('checking types beside', { timeout: 120_000 }, () => {
  it('prints errors of the project with its own TypeScript, and when they are gone', async () => {
    const project = await makeProject({
      'tsconfig.json': '{ "compilerOptions": { "strict": true, "types": [] }, "include": ["convoy"] }',
      'convoy/odd.ts': 'export const odd: string = 1;\n',
    });
    const shown = new PassThrough();
    const terminal = createTerminal({ verbose: false, stream: shown });
    expect(checkTypes({ ...project.layout, root: path.dirname(project.root) }, terminal)).toBeNull();
    const typescript = path.dirname(createRequire(import.meta.url).resolve('typescript/package.json'));
    await mkdir(path.join(project.root, 'node_modules'), { recursive: true });
    await symlink(typescript, path.join(project.root, 'node_modules/typescript'));
    const stop = checkTypes(project.layout, terminal);
    let text = '';
    const prints = async (pattern: RegExp) => {
      while (!pattern.test(text)) {
        const chunk: unknown = shown.read();
        if (chunk === null) await new Promise((resolve) => shown.once('readable', resolve));
        else text += String(chunk);
      }
    };
    await prints(/convoy\/odd\.ts:1:14: TS2322: Type 'number' is not assignable/);
    expect(text).toContain('Types: 1 error.');
    await project.write({ 'convoy/odd.ts': "export const odd: string = '1';\n" });
    await prints(/Types: no errors any more/);
    await stop?.();
    await project.remove();
  });
});
