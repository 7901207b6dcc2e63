/** A server in its own process, whose output is its log: sends its port over IPC, and ends when the channel is closed. */
import { createConvoy } from '@avvos/convoy/node';

const isDev = process.env.CANARY_DEV === '1';
// Short, because some of the functions never end; in development none of them hangs its thread.
const ms = isDev ? 10_000 : 1_500;
const convoy = await createConvoy({
  program: new URL('./program.mjs', import.meta.url),
  databaseUrl: process.env.DATABASE_URL,
  dev: isDev,
  workers: 2,
  resourceLimits: { maxOldGenerationSizeMb: 128 },
  limits: { queryMs: ms, mutationMs: ms, actionMs: ms, workerUnresponsiveMs: 500, bodyBytes: 100_000 },
});
const { port } = await convoy.listen({ port: 0 });
process.on('disconnect', () => void convoy.close());
process.send({ port });
