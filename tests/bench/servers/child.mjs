// Runs one server in a separate process: `child.mjs <contestant> [<options>]`, with the
// database in DATABASE_URL. Handles requests of its parent and ends with it.
import process from 'node:process';

const { start } = await import(`./${process.argv[2]}.mjs`);
const server = await start(process.env.DATABASE_URL, JSON.parse(process.argv[3] ?? '{}'));

const handlers = {
  cpu: () => {
    const { user, system } = process.cpuUsage();
    return user + system;
  },
  memory: () => process.memoryUsage.rss(),
  stats: () => server.stats(),
};

process.on('message', ({ id, request }) => process.send({ id, response: handlers[request]() }));
process.on('disconnect', async () => {
  await server.close();
  process.exit(0);
});
process.send({ port: server.port });
