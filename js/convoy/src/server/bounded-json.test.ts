import { expect, test } from 'vitest';
import { boundedJson, MAX_MESSAGE_BYTES } from './bounded-json.js';

test('a message of the limit is encoded and one byte more is not', () => {
  const text = (bytes: number) => 'x'.repeat(bytes - 2);
  expect(boundedJson('The arguments', text(MAX_MESSAGE_BYTES), MAX_MESSAGE_BYTES)).toHaveLength(MAX_MESSAGE_BYTES);
  expect(() => boundedJson('The arguments', text(MAX_MESSAGE_BYTES + 1), MAX_MESSAGE_BYTES)).toThrow(
    expect.objectContaining({
      code: 'PAYLOAD_TOO_LARGE',
      message: `The arguments is larger than the limit of ${MAX_MESSAGE_BYTES} bytes.`,
    }),
  );
});
