import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { userStack } from './user-stack.js';

const ours = path.join(fileURLToPath(new URL('../../', import.meta.url)), 'dist/server');

it('contains only frames of user code, in causes as well', () => {
  const stack = `TypeError: no such field
    at Object.check (${ours}/scan.js:10:5)
    at handler (/app/convoy/functions/messages.ts:7:20)
    at run (file://${ours}/run.js:3:1)
    ... 3 lines matching cause stack trace ...
    at process.processTicksAndRejections (node:internal/process/task_queues:105:5) {
  [cause]: Error: within
      at readFile (node:fs:1:1)
      at load (/app/convoy/lib.ts:2:2)
}`;
  expect(
    userStack(stack)
      .split('\n')
      .map((line) => line.trim()),
  ).toEqual([
    'TypeError: no such field',
    'at handler (/app/convoy/functions/messages.ts:7:20) {',
    '[cause]: Error: within',
    'at load (/app/convoy/lib.ts:2:2)',
    '}',
  ]);
});

it('keeps a stack without frames of user code', () => {
  const stack = `Error: ours\n    at one (${ours}/run.js:1:1)\n    at two (node:events:1:1)`;
  expect(userStack(stack)).toBe(stack);
});
