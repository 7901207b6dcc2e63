// Runs a throw-away Postgres in the foreground, for running tests by hand: prints
// its URL, and deletes it on Ctrl-C.
//
//   npm run db
import { buildPackage } from './build.mjs';
import { startThrowAwayPostgres } from './postgres.mjs';

await buildPackage();
const stopped = new Promise((resolve) => {
  process.once('SIGINT', resolve);
  process.once('SIGTERM', resolve);
});
console.log('\n▸ Starting a throw-away Postgres');
const postgres = await startThrowAwayPostgres();
console.log(`\nexport CONVOY_TEST_DATABASE_URL='${postgres.url}'`);
console.log('\nPaste that line into another terminal. Ctrl-C here stops this Postgres and deletes its data.');
// A promise alone does not keep Node running.
const running = setInterval(() => {}, 2 ** 30);
await stopped;
clearInterval(running);
await postgres.stop();
