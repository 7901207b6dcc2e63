// One server in a process of its own: `child.mjs <contestant> [<options>]`, the
// database in DATABASE_URL. Answers its parent's questions and ends with it.
import process from 'node:process';

const { start } = await import(`./${process.argv[2]}.mjs`);
const server = await start(process.env.DATABASE_URL, JSON.parse(process.argv[3] ?? '{}'));

const answers = {
  cpu: () => {
    const { user, system } = process.cpuUsage();
    return user + system;
  },
  memory: () => process.memoryUsage.rss(),
  stats: () => server.stats(),
};

process.on('message', ({ number, ask }) => process.send({ number, answer: answers[ask]() }));
process.on('disconnect', async () => {
  await server.close();
  process.exit(0);
});
process.send({ port: server.port });
