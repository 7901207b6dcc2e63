/** Opens, uses and closes a Convoy with workers again and again, and ends in the middle of everything with code 7. */
import { makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { createConvoy } from '@avvos/convoy/node';

const [databaseUrl] = process.argv.slice(2);
const [whereSlowly, exit, loop, add] = [
  makeQueryRef('whereSlowly'),
  makeQueryRef('exit'),
  makeQueryRef('loop'),
  makeMutationRef('add'),
];
// What is asked of workers that end is not the point.
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
  // Closed while it is busy, and after some of it, and after all.
  if (round % 3 === 1) await convoy.query(whereSlowly, {}).catch(() => null);
  if (round % 3 === 2) await ended;
  await convoy.close();
  await ended;
}
const convoy = await open();
void busy(convoy);
await convoy.query(whereSlowly, {}).catch(() => null);
process.exit(7);
