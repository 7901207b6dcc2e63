// A server of `sessions-program.mjs`; answers `{ end: token }` with `{ ended }` once the session is deleted.
import { createConvoy } from '@avvos/convoy/node';
import { processorTime } from '../processor-time.mjs';

const convoy = await createConvoy({
  program: new URL('./sessions-program.mjs', import.meta.url),
  databaseUrl: process.env.DATABASE_URL,
});
const { port } = await convoy.listen({ port: 0 });
process.on('message', async ({ end, cpu }) => {
  if (cpu) return process.send({ cpu: await processorTime(process.pid) });
  await convoy.mutation({ kind: 'mutation', name: 'end' }, { token: end });
  process.send({ ended: end });
});
process.on('disconnect', () => convoy.close().then(() => process.exit(0)));
process.send({ port });
