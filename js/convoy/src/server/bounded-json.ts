/**
 * JSON text of what user code made, or is given, within a limit and within what memory this thread has left: V8 ends
 * the whole process where such a text does not fit. Measured before the text is made.
 */

import { constants } from 'node:buffer';
import { types } from 'node:util';
import { getHeapStatistics } from 'node:v8';
import { ConvoyError } from '../values/errors.js';
import { jsonSize, measureJson, steadyCopy } from '../values/json-size.js';

/** What always fits. */
const LITTLE = 1 << 20;

/** Making a text takes the text itself, its parts, and a copy. */
const TIMES = 4;

/** What crosses to the engine at once, and has no limit of its own. */
export const MOST_CROSSING = 64 << 20;

/** A result, unless `limits.resultBytes` says otherwise. */
export const MOST_RESULT = 16 << 20;

/** The JSON of `value`; throws `PAYLOAD_TOO_LARGE` where it has more than `most` bytes. `subject` begins the message. */
export function boundedJson(subject: string, value: unknown, most: number): string {
  return JSON.stringify(mustFit(subject, value, most));
}

/**
 * What to make the JSON of `value` from: itself, or a copy where its own code (a getter, a `toJSON`, a proxy) could give
 * more when the text is made than when it was measured. Throws `PAYLOAD_TOO_LARGE` where the JSON has more than `most`
 * bytes, or than there is memory for.
 */
export function mustFit(subject: string, value: unknown, most: number): unknown {
  const little = measureJson(value, { most: Math.min(LITTLE, most), isProxy: types.isProxy });
  if (little.size <= most && little.steady) return value;
  const { heap_size_limit: all, used_heap_size: used } = getHeapStatistics();
  const room = Math.floor((all - used) / TIMES);
  const least = Math.min(most, room);
  const { size, steady } = measureJson(value, { most: least, exact: true, isProxy: types.isProxy });
  if (size <= most && steady) return value;
  const copied = size <= most ? steadyCopy(value, least) : undefined;
  if (copied !== undefined && jsonSize(copied.copy, least) <= most) return copied.copy;
  const why =
    room < most ? 'more than its thread has memory for' : `larger than ${most} bytes, the most there may be of it`;
  throw new ConvoyError('PAYLOAD_TOO_LARGE', `${subject} is ${why}.`);
}

/** Reading a text takes the text itself and its values, which take more room than it where they are small. */
const TIMES_READ = 8;

/** The text of `bytes`; throws `PAYLOAD_TOO_LARGE` where there is not memory for what is in it. */
export function textThatFits(subject: string, bytes: Buffer): string {
  const { heap_size_limit: all, used_heap_size: used } = getHeapStatistics();
  if (bytes.length <= Math.min((all - used) / TIMES_READ, constants.MAX_STRING_LENGTH)) return bytes.toString();
  throw new ConvoyError('PAYLOAD_TOO_LARGE', `${subject} is more than its thread has memory for.`);
}
