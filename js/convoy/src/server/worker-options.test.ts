import { expect, it } from 'vitest';
import { workerProblem } from './worker-options.js';

it.each([
  [undefined, undefined],
  [0, {}],
  [1_024, undefined],
  [64, { maxOldGenerationSizeMb: 512, maxYoungGenerationSizeMb: 0.1, codeRangeSizeMb: 4_096, stackSizeMb: 4 }],
  [1, { stackSizeMb: 0.5 }],
  [1, { stackSizeMb: 1_000 }],
  [1, { stackSizeMb: undefined }],
])('accepts %o workers with %o', (workers, limits) => {
  expect(workerProblem(workers, limits)).toBeNull();
});

it.each([
  [-1, {}, '`workers` is a number of threads up to 1,024, or 0 to run functions in this one; -1 was given.'],
  [1_025, {}, '1025 was given'],
  [1.5, {}, '1.5 was given'],
  ['4', {}, '"4" was given'],
  [1, 512, '`resourceLimits` is an object'],
  [1, null, '`resourceLimits` is an object'],
  [1, [512], '`resourceLimits` is an object'],
  [1, { maxOldGenerationSizeMB: 512 }, '`resourceLimits` has no member maxOldGenerationSizeMB; it has maxOldGen'],
  [1, { maxOldGenerationSizeMb: 0 }, '`resourceLimits.maxOldGenerationSizeMb` is a number above 0; 0 was given.'],
  [1, { maxOldGenerationSizeMb: Number.POSITIVE_INFINITY }, 'Infinity was given'],
  [1, { codeRangeSizeMb: '64' }, '"64" was given'],
  [
    1,
    { codeRangeSizeMb: 4_097 },
    '`resourceLimits.codeRangeSizeMb` is a number above 0, at most 4,096; 4097 was given.',
  ],
  [1, { maxYoungGenerationSizeMb: Number.NaN }, 'NaN was given'],
  [1, { stackSizeMb: 0.49 }, '`resourceLimits.stackSizeMb` is a number from 0.5, at most 1,000; 0.49 was given.'],
  [1, { stackSizeMb: 1_001 }, '1001 was given'],
])('refuses %o workers with %o', (workers, limits, problem) => {
  expect(workerProblem(workers, limits)).toContain(problem);
});
