// The server: Convoy's API, the page, and what the page loads. In development Vite compiles both for each request.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import express from 'express';

const { HOST, NODE_ENV, PORT = '3000' } = process.env;
/** `convoy dev` sets it. */
const dev = NODE_ENV === 'development';

const app = express();
const server = createServer(app);
app.disable('x-powered-by');

const { convoy, files, pageOf } = dev ? await fromSources() : await fromBuild();

app.use(convoy.nodeHandler());
server.on('upgrade', convoy.upgradeHandler());
app.use(files);
app.get('/', async (request, response) => {
  const { html, headers } = await pageOf(request);
  response.set(headers).send(html);
});

// In development only this machine reaches the server, unless HOST is set.
server.listen({ port: Number(PORT), host: HOST ?? (dev ? 'localhost' : undefined) }, () => {
  console.log(`\n  ➜  http://localhost:${server.address().port}/\n`);
});

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, close);

export { convoy };

async function fromSources() {
  const { createServer: createVite, createServerModuleRunner } = await import('vite');
  const root = import.meta.dirname;
  const vite = await createVite({ root, appType: 'custom', server: { middlewareMode: true, hmr: { server } } });
  const runner = createServerModuleRunner(vite.environments.ssr);
  const load = () => runner.import('/src/entry-server.tsx');
  const { convoy } = await load();
  const pageOf = async (request) => {
    const template = await readFile(join(root, 'index.html'), 'utf8');
    const { renderPage } = await load();
    return renderPage(await vite.transformIndexHtml(request.originalUrl, template), request);
  };
  return { convoy, files: vite.middlewares, pageOf };
}

async function fromBuild() {
  const folder = join(import.meta.dirname, 'dist');
  const { convoy, renderPage } = await import('./dist/server/entry-server.js');
  const template = await readFile(join(folder, 'page/index.html'), 'utf8');
  // `index.html` is the template, and not a page.
  const files = express.static(join(folder, 'page'), { index: false });
  return { convoy, files, pageOf: (request) => renderPage(template, request) };
}

/** Convoy first: it ends the live queries, for which the server would wait. */
async function close() {
  await convoy.close();
  server.close(() => process.exit());
  if (dev) process.exit(); // Vite's connections to pages stay open.
}
