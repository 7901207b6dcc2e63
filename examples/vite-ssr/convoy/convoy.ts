/** Convoy in the server of the page, on the database that `DATABASE_URL` names. */
import { createConvoy } from '@avvos/convoy/node';
import * as tasks from './functions/tasks';
import schema from './schema';
import { createContext } from './server';

const { DATABASE_URL: databaseUrl = '', NODE_ENV } = process.env;

export const convoy = await createConvoy({
  schema,
  functions: { tasks },
  createContext,
  databaseUrl,
  dev: NODE_ENV === 'development',
});
