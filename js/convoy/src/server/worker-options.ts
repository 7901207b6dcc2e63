/** Checks the options `workers` and `resourceLimits`. */
import type { ResourceLimits } from 'node:worker_threads';

const NAMES = [
  'maxOldGenerationSizeMb',
  'maxYoungGenerationSizeMb',
  'codeRangeSizeMb',
  'stackSizeMb',
] as const satisfies (keyof ResourceLimits)[];

/** With less, Node ends the whole process, because it has no stack to report the error with. */
const MIN_STACK_MB = 0.5;
const MAX_STACK_MB = 1_000;

/** What is wrong with these options, for their developer; Node itself ignores limits that it does not know. */
export function workerProblem(workers: unknown, resourceLimits: unknown): string | null {
  if (workers !== undefined && (!Number.isSafeInteger(workers) || (workers as number) < 0)) {
    return `\`workers\` is a number of threads, or 0 to run functions in this one; ${String(workers)} was given.`;
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
    const [min, max] = name === 'stackSizeMb' ? [MIN_STACK_MB, MAX_STACK_MB] : [Number.MIN_VALUE, Number.MAX_VALUE];
    if (typeof value === 'number' && value >= min && value <= max) continue;
    const range =
      name === 'stackSizeMb' ? `from ${MIN_STACK_MB} to ${MAX_STACK_MB.toLocaleString('en-US')}` : 'above 0';
    return `\`resourceLimits.${name}\` is a number ${range}; ${String(value)} was given.`;
  }
  return null;
}
