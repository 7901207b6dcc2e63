/** The server: Convoy below `/api`, routes of your own, and the page. */
import { createServer } from 'node:http';
import path from 'node:path';
import express from 'express';
import { api } from '../convoy/_generated/api';

const { HOST, NODE_ENV, PORT = '3000' } = process.env;
/** `convoy dev` sets it. */
const dev = NODE_ENV === 'development';

const app = express();
const server = createServer(app);
app.set('env', dev ? 'development' : 'production'); // Express sends stacks of errors in development only.
app.disable('x-powered-by');

const { convoy, page } = dev ? await (await import('./vite')).openVite(server) : await openBuilt();

app.use(convoy.nodeHandler());
server.on('upgrade', convoy.upgradeHandler());

/** An ordinary route, for programs that read the messages once. It calls the function that the page watches. */
app.get('/messages', async (_request, response) => {
  response.json(await convoy.query(api.messages.list, {}));
});

app.use(page);

// In development only this machine reaches the server, unless HOST is set.
server.listen({ port: Number(PORT), host: HOST ?? (dev ? 'localhost' : undefined) }, () => {
  console.log(`\n  ➜  http://localhost:${PORT}/\n`);
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, close);

/** What `npm run build` has made. */
async function openBuilt() {
  const { convoy } = await import('../convoy/convoy');
  return { convoy, page: express.static(path.join(import.meta.dirname, '../page')) };
}

/** Convoy first: it ends the live queries, for which the server would wait. */
async function close() {
  await convoy.close();
  server.close(() => process.exit());
  if (dev) process.exit(); // Vite's connections to pages stay open.
}
