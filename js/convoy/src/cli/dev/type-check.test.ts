import { describe, expect, it } from 'vitest';
import { TypeChecks } from './type-check.js';

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
