/** Which plans are impossible, and which need an answer. */
import { describe, expect, it } from 'vitest';
import type { PlannedStep } from '../../server/native.js';
import type { TableMisfits } from '../../server/schema-check.js';
import { describeSteps, judge } from './plan.js';

const step = (changes: Partial<PlannedStep>): PlannedStep => ({
  kind: 'index',
  name: 'index notes.by_body',
  sql: ['create index "x"\n on "notes" (body)'],
  unique: false,
  concurrently: true,
  rows: 10,
  duplicates: null,
  ...changes,
});

const misfits: TableMisfits = {
  table: 'notes',
  documents: 10_000,
  isWhole: false,
  unfit: 12,
  misfits: [{ path: 'age', message: 'is missing', count: 12, example: 'notes:1' }],
  unknown: [],
  renamed: { from: [], to: [] },
  odd: [],
};

const judged = (...steps: PlannedStep[]) => judge({ steps, misfits: [] });

describe('a plan', () => {
  it('without effects on running applications has no warnings', () => {
    const harmless = [
      step({}),
      step({ kind: 'table', rows: null }),
      step({ kind: 'triggers', rows: null }),
      step({ unique: true, concurrently: false, rows: 0, duplicates: 0 }),
    ];
    expect(judged(...harmless)).toEqual({ blockers: [], warnings: [] });
  });

  it('with duplicates is impossible', () => {
    const one = judged(step({ unique: true, duplicates: 1 }));
    expect(one.blockers).toEqual([expect.stringContaining('1 value of its fields is in more than one document')]);
    expect(one.warnings).toEqual([]);
    const many = judged(step({ unique: true, duplicates: 1_000 }));
    expect(many.blockers[0]).toContain('1,000 or more values of its fields are');
  });

  it.each([
    ['rejects writes from now on', step({ unique: true, duplicates: 0 }), 'writes of equal values are rejected'],
    ['may fail', step({ unique: true }), 'could not be checked in time'],
    ['reads many documents', step({ rows: 250_000 }), 'about 250,000 documents'],
    ['reads an unknown number of documents', step({ rows: null }), 'an unknown number of documents'],
    ['blocks writes', step({ concurrently: false }), 'cannot be written while'],
  ])('has a warning if an index %s', (_what, changed, warning) => {
    const { blockers, warnings } = judged(changed);
    expect(blockers).toEqual([]);
    expect(warnings).toEqual([expect.stringContaining(warning)]);
  });

  it('has a warning for documents that do not fit', () => {
    expect(judge({ steps: [], misfits: [misfits] }).warnings).toEqual([
      'notes: 12 of 10000 documents that were checked do not fit the schema, so changing them will fail: age: is missing (such as notes:1).',
    ]);
  });

  it('is described line by line, with its SQL if requested', () => {
    expect(describeSteps([step({})], { withSql: false })).toEqual([
      'build index notes.by_body (concurrently), about 10 documents',
    ]);
    expect(describeSteps([step({ kind: 'cleanup', name: 'invalid index x', rows: null })], { withSql: true })).toEqual([
      'drop invalid index x',
      '    create index "x"',
      '     on "notes" (body);',
    ]);
  });
});
