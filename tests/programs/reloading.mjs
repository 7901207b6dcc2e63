/**
 * A server that loads a version of `reloaded.mjs` for each message over IPC, as `convoy dev` does: on new workers. With
 * INLINE it runs in the main thread, where Node keeps each module that it has imported.
 */
import { createConvoy } from '@avvos/convoy/node';

const { DATABASE_URL, INLINE } = process.env;
const urlOf = (version) => new URL(`./reloaded.mjs?v=${version}`, import.meta.url).href;
const sourceOf = async (version) => {
  if (INLINE !== '1') return { program: urlOf(version) };
  const { schema, functions } = await import(urlOf(version));
  return { schema, functions };
};

const options = { databaseUrl: DATABASE_URL, createDatabase: true, dev: true };
const convoy = await createConvoy({ ...options, ...(await sourceOf(0)), ...(INLINE === '1' ? {} : { workers: 1 }) });
const { port } = await convoy.listen({ port: 0 });
process.on('message', async ({ version }) => {
  await convoy.load(await sourceOf(version));
  globalThis.gc();
  process.send({ rss: process.memoryUsage.rss(), heap: process.memoryUsage().heapUsed });
});
process.on('disconnect', async () => {
  await convoy.close();
  process.exit(0);
});
process.send({ port });
