// The whole test suite, on a machine with only Rust and Node: builds what it
// tests, starts a throw-away Postgres, and runs every lane against it.
//
//   npm test                 the quick lane
//   npm run test:long        the same tests with larger numbers
import { parseArgs } from 'node:util';
import { buildEngine, buildPackage } from './build.mjs';
import { findChromium } from './chromium.mjs';
import { findPgBouncer } from './pgbouncer.mjs';
import { run } from './run.mjs';

const { values } = parseArgs({ options: { long: { type: 'boolean', default: false } } });

await buildPackage();
await buildEngine('dev');
const chromium = await findChromium();
await findPgBouncer();
const { startThrowAwayPostgres } = await import('../js/convoy/dist/cli/postgres/index.js');

console.log('\n▸ Starting a throw-away Postgres');
const postgres = await startThrowAwayPostgres({
  settings: { max_connections: '300', max_prepared_transactions: '20' },
});
const env = {
  CONVOY_TEST_DATABASE_URL: postgres.url,
  CONVOY_TEST_CHROMIUM: chromium,
  ...(values.long ? { CONVOY_TEST_LONG: '1', PROPTEST_CASES: '5000' } : {}),
};
try {
  await run('Rust tests', 'cargo', ['test', '--locked', '--workspace', '--quiet'], { env });
  await run('Type tests', 'npx', ['tsc', '--noEmit', '-p', 'js/convoy/tsconfig.test.json']);
  await run('TypeScript tests', 'npx', ['vitest', 'run'], { env });
} finally {
  await postgres.stop();
}
console.log('\n✓ All tests passed.');
