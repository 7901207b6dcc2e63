/** Runs the functions of blocking.mjs in the main thread: passed as values, or as a program. */
import { createConvoy } from '@avvos/convoy/node';
import * as source from './blocking.mjs';

const [databaseUrl, how, limits] = process.argv.slice(2);
const options = { databaseUrl, createDatabase: true, limits: JSON.parse(limits) };
const code = how === 'values' ? { ...source } : { program: new URL('./blocking.mjs', import.meta.url), workers: 0 };
const convoy = await createConvoy({ ...code, ...options });
const { port } = await convoy.listen({ port: 0 });
console.log(`Convoy listens on http://127.0.0.1:${port}`);
