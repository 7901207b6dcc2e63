import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { ProjectLayout } from '../options.js';
import type { Terminal } from '../terminal.js';
import { TypeChecks } from './type-check.js';

describe('a type check', () => {
  let root: string;
  beforeAll(() => {
    root = mkdtempSync(path.join(tmpdir(), 'convoy-types-'));
    const typescript = path.dirname(createRequire(import.meta.url).resolve('typescript/package.json'));
    symlinkSync(path.join(typescript, '..'), path.join(root, 'node_modules'));
    writeFileSync(
      path.join(root, 'tsconfig.json'),
      JSON.stringify({ compilerOptions: { types: [] }, files: ['a.ts'] }),
    );
    writeFileSync(path.join(root, 'a.ts'), "export const a: number = '1';\n");
  });
  afterAll(() => rmSync(root, { recursive: true }));

  const start = async () => {
    // The built module: it starts a process of the module beside it.
    const built: string = '../../../dist/cli/dev/type-check.js';
    const { checkTypes } = (await import(built)) as Pick<typeof import('./type-check.js'), 'checkTypes'>;
    const printed: string[] = [];
    let onPrint = () => {};
    const print = (text: string) => {
      printed.push(text);
      onPrint();
    };
    const terminal = { warn: print, info: print, done: print, detail: print } as unknown as Terminal;
    const stop = checkTypes({ root } as ProjectLayout, terminal);
    if (stop === null) throw new Error('The check has not started.');
    const prints = async (text: string) => {
      while (!printed.some((line) => line.includes(text))) await new Promise<void>((resolve) => (onPrint = resolve));
    };
    return { stop, prints };
  };
  const processes = () => execFileSync('ps', ['-eo', 'args'], { encoding: 'utf8' }).includes(root);

  it('has ended with its compiler when it is stopped', async () => {
    const check = await start();
    await check.prints('a.ts:1:14: TS2322');
    await check.stop();
    // The compiler of TypeScript 7 is a child of its `tsc`, and leaves a moment later.
    await vi.waitFor(() => expect(processes()).toBe(false), { timeout: 20_000 });
  });

  it('ends as well if it is stopped before its process is up', async () => {
    const check = await start();
    await check.stop();
    await vi.waitFor(() => expect(processes()).toBe(false), { timeout: 20_000 });
  });
});

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
