/** A user's own main program that serves blocking.mjs from workers, and prints its URL. */
import { createConvoy } from '@avvos/convoy/node';

const program = new URL('./blocking.mjs', import.meta.url);
const convoy = await createConvoy({ program, databaseUrl: process.argv[2], createDatabase: true });
const { port } = await convoy.listen({ host: '127.0.0.1', port: 0 });
console.log(`listens on http://127.0.0.1:${port}`);
