/** Checks the options `workers` and `resourceLimits`. */
import type { ResourceLimits } from 'node:worker_threads';
import { describeGiven } from '../values/kind.js';

const NAMES = [
  'maxOldGenerationSizeMb',
  'maxYoungGenerationSizeMb',
  'codeRangeSizeMb',
  'stackSizeMb',
] as const satisfies (keyof ResourceLimits)[];

/** More threads than machines have cores. */
const MAX_WORKERS = 1_024;

/**
 * Node ends the whole process with a stack below about 0.25, and where it cannot reserve the range for code; 0.5 leaves
 * a margin.
 */
const RANGES: Readonly<Record<(typeof NAMES)[number], readonly [min: number, max: number]>> = {
  maxOldGenerationSizeMb: [Number.MIN_VALUE, Number.MAX_SAFE_INTEGER],
  maxYoungGenerationSizeMb: [Number.MIN_VALUE, Number.MAX_SAFE_INTEGER],
  codeRangeSizeMb: [Number.MIN_VALUE, 4_096],
  stackSizeMb: [0.5, 1_000],
};

/** What is wrong with these options, for their developer; Node itself ignores limits that it does not know. */
export function workerProblem(workers: unknown, resourceLimits: unknown): string | null {
  const isCount = Number.isSafeInteger(workers) && (workers as number) >= 0 && (workers as number) <= MAX_WORKERS;
  if (workers !== undefined && !isCount) {
    return (
      `\`workers\` is a number of threads up to ${number(MAX_WORKERS)}, or 0 to run functions in this one; ` +
      `${describeGiven(workers)} was given.`
    );
  }
  if (resourceLimits === undefined) return null;
  if (typeof resourceLimits !== 'object' || resourceLimits === null || Array.isArray(resourceLimits)) {
    return '`resourceLimits` is an object, such as { maxOldGenerationSizeMb: 512 }.';
  }
  for (const [name, value] of Object.entries(resourceLimits)) {
    if (!(NAMES as readonly string[]).includes(name)) {
      return `\`resourceLimits\` has no member ${name}; it has ${NAMES.join(', ')}.`;
    }
    if (value === undefined) continue;
    const [min, max] = RANGES[name as (typeof NAMES)[number]];
    if (typeof value === 'number' && value >= min && value <= max) continue;
    const least = min === Number.MIN_VALUE ? 'above 0' : `from ${min}`;
    const most = max === Number.MAX_SAFE_INTEGER ? '' : `, at most ${number(max)}`;
    return `\`resourceLimits.${name}\` is a number ${least}${most}; ${describeGiven(value)} was given.`;
  }
  return null;
}

function number(value: number): string {
  return value.toLocaleString('en-US');
}
