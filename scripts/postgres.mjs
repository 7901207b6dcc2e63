// Provides the Postgres that tests run against. Needs the built package.
/** The Postgres of CONVOY_TEST_DATABASE_URL, or a throw-away one that `stop` deletes. */
export async function postgresForTests() {
  const given = process.env.CONVOY_TEST_DATABASE_URL;
  if (given) {
    console.log('\n▸ Using the Postgres that CONVOY_TEST_DATABASE_URL names');
    return { url: given, stop: async () => {} };
  }
  console.log('\n▸ Starting a throw-away Postgres');
  return startThrowAwayPostgres();
}

/** @param {{ installedIn?: string }} [options] a folder whose `node_modules` has another version of the binaries */
export async function startThrowAwayPostgres(options = {}) {
  const embedded = await import('../js/convoy/dist/cli/postgres/index.js');
  const settings = { max_connections: '600', max_prepared_transactions: '20' };
  return embedded.startThrowAwayPostgres({ settings, ...options });
}
