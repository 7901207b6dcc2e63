// The node:http server on tables with a column per field.
import { startOn } from './postgresjs.mjs';
import * as tables from './relational-tables.mjs';

/** @param {string} databaseUrl */
export const start = (databaseUrl) => startOn(databaseUrl, tables);
