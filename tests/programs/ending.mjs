/** Opens, uses and closes a Convoy with workers repeatedly, and then exits with code 7 while one is busy. */
import { makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { createConvoy } from '@avvos/convoy/node';

const [databaseUrl] = process.argv.slice(2);
const [whereSlowly, exit, loop, add] = [
  makeQueryRef('whereSlowly'),
  makeQueryRef('exit'),
  makeQueryRef('loop'),
  makeMutationRef('add'),
];
// Calls to workers that end may fail; this test ignores it.
console.error = () => {};

function open() {
  const program = new URL('./workers.mjs', import.meta.url);
  const limits = { queryMs: 300, workerUnresponsiveMs: 100 };
  return createConvoy({ program, workers: 3, databaseUrl, createDatabase: true, limits });
}

function busy(convoy) {
  const calls = [exit, loop, ...Array.from({ length: 10 }, () => whereSlowly)].map((ref) => convoy.query(ref, {}));
  const writes = Array.from({ length: 10 }, (_, n) => convoy.mutation(add, { text: String(n) }));
  return Promise.allSettled([...calls, ...writes]);
}

for (let round = 0; round < 6; round++) {
  const convoy = await open();
  const ended = busy(convoy);
  // Closes while busy, after the first results, and after all.
  if (round % 3 === 1) await convoy.query(whereSlowly, {}).catch(() => null);
  if (round % 3 === 2) await ended;
  await convoy.close();
  await ended;
}
const convoy = await open();
void busy(convoy);
await convoy.query(whereSlowly, {}).catch(() => null);
process.exit(7);
