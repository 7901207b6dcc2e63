/** A server in its own process, whose output is its log: sends its port over IPC, and ends when the channel is closed. */
import { createConvoy } from '@avvos/convoy/node';

const convoy = await createConvoy({
  program: new URL('./program.mjs', import.meta.url),
  databaseUrl: process.env.DATABASE_URL,
  dev: process.env.CANARY_DEV === '1',
  workers: 2,
  resourceLimits: { maxOldGenerationSizeMb: 128 },
  limits: { queryMs: 1_500, mutationMs: 1_500, actionMs: 1_500, workerUnresponsiveMs: 500, bodyBytes: 100_000 },
});
const { port } = await convoy.listen({ port: 0 });
process.on('disconnect', () => void convoy.close());
process.send({ port });
