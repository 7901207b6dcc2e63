/** A real Postgres from npm packages, for `convoy dev` and for tests. */
export { type EmbeddedPostgres, type EmbeddedPostgresOptions, startEmbeddedPostgres } from './embedded.js';
export { describePostgresEvent, type PostgresEvent } from './events.js';
export { BinariesMissing, binariesPackageFor, findBinariesPackage } from './installed.js';
export { startThrowAwayPostgres, type ThrowAwayPostgresOptions } from './throw-away.js';
