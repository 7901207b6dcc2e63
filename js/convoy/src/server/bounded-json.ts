/**
 * JSON text within a size limit and within the free memory of this thread: V8 aborts the whole process if it cannot
 * allocate such a text. Values are measured before the text is made.
 */

import { constants } from 'node:buffer';
import { types } from 'node:util';
import { getHeapStatistics } from 'node:v8';
import { ConvoyError } from '../values/errors.js';
import { jsonSize, measureJson, plainCopy } from '../values/json-size.js';

/** A size that always fits into memory. */
const FAST_PATH_BYTES = 1 << 20;

/** Memory that `JSON.stringify` takes per byte of its text: the text itself, its parts, and a copy. */
const STRINGIFY_FACTOR = 4;

/** The limit of one message to the engine, where no other limit applies. */
export const MAX_MESSAGE_BYTES = 64 << 20;

/** The default of `limits.resultBytes`. */
export const DEFAULT_MAX_RESULT_BYTES = 16 << 20;

/** The JSON of `value`; throws `PAYLOAD_TOO_LARGE` above `maxBytes`. `subject` begins the message. */
export function boundedJson(subject: string, value: unknown, maxBytes: number): string {
  return JSON.stringify(boundedValue(subject, value, maxBytes));
}

/**
 * The value to pass to `JSON.stringify` for `value`: itself, or a copy if its own code (a getter, a `toJSON`, a proxy)
 * could return more then than when it was measured. Throws `PAYLOAD_TOO_LARGE` if the JSON is larger than `maxBytes` or
 * than the free memory.
 */
export function boundedValue(subject: string, value: unknown, maxBytes: number): unknown {
  const quick = measureJson(value, { limit: Math.min(FAST_PATH_BYTES, maxBytes), isProxy: types.isProxy });
  if (quick.size <= maxBytes && quick.plain) return value;
  const { heap_size_limit: all, used_heap_size: used } = getHeapStatistics();
  const available = Math.floor((all - used) / STRINGIFY_FACTOR);
  const limit = Math.min(maxBytes, available);
  const { size, plain } = measureJson(value, { limit: limit, exact: true, isProxy: types.isProxy });
  if (size <= maxBytes && plain) return value;
  const copied = size <= maxBytes ? plainCopy(value, limit) : undefined;
  if (copied !== undefined && jsonSize(copied.copy, limit) <= maxBytes) return copied.copy;
  const reason =
    available < maxBytes ? 'larger than the free memory of its thread' : `larger than the limit of ${maxBytes} bytes`;
  throw new ConvoyError('PAYLOAD_TOO_LARGE', `${subject} is ${reason}.`);
}

/** Memory that `JSON.parse` takes per byte of its text: the text itself and its values, many of them small. */
const PARSE_FACTOR = 8;

/** The text of `bytes`; throws `PAYLOAD_TOO_LARGE` if there is not enough free memory to parse it. */
export function boundedText(subject: string, bytes: Buffer): string {
  const { heap_size_limit: all, used_heap_size: used } = getHeapStatistics();
  if (bytes.length <= Math.min((all - used) / PARSE_FACTOR, constants.MAX_STRING_LENGTH)) return bytes.toString();
  throw new ConvoyError('PAYLOAD_TOO_LARGE', `${subject} is larger than the free memory of its thread.`);
}
