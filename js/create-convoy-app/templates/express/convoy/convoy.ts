/** Convoy, opened on the database that `DATABASE_URL` names. In development a change of its code is loaded into it. */
import { createConvoy } from '@avvos/convoy/node';
import type { Api, Internal } from './_generated/api';
import * as messages from './functions/messages';
import schema from './schema';

/** Every file in `functions/`. The type check reports one that is missing here. */
const functions = { messages } satisfies Record<keyof Api | keyof Internal, object>;

const { DATABASE_URL: databaseUrl = '', NODE_ENV } = process.env;

export const convoy = await createConvoy({ schema, functions, databaseUrl, dev: NODE_ENV === 'development' });

// Vite evaluates this file again when code that it imports has changed, and pages stay connected.
import.meta.hot?.accept();
