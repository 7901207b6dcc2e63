/** A Postgres that one file of tests has to itself, because it kills it or changes its settings. */
import {
  type EmbeddedPostgres,
  startThrowAwayPostgres,
  type ThrowAwayPostgresOptions,
} from '../js/convoy/dist/cli/postgres/index.js';

/** It has the version that `npm run test:versions` tests. */
export function startOwnPostgres(options: ThrowAwayPostgresOptions = {}): Promise<EmbeddedPostgres> {
  const installedIn = process.env.CONVOY_TEST_POSTGRES_FOLDER;
  return startThrowAwayPostgres({ ...options, ...(installedIn === undefined ? {} : { installedIn }) });
}
