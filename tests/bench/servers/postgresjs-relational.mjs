// The node:http server on tables with a column per field.
import { start as startPostgresjs } from './postgresjs.mjs';
import * as tables from './relational-tables.mjs';

/** @param {string} databaseUrl */
export const start = (databaseUrl) => startPostgresjs(databaseUrl, tables);
