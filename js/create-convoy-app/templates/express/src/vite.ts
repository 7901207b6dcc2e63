/** What Vite does in development: the page, and the code of Convoy, both with their changes at once. */
import type { Server } from 'node:http';
import { createServer, createServerModuleRunner } from 'vite';

/** Sends its updates to pages through `server`. */
export async function openVite(server: Server) {
  const vite = await createServer({ server: { middlewareMode: true, hmr: { server } } });
  const runner = createServerModuleRunner(vite.environments.ssr);
  const { convoy } = await runner.import<typeof import('../convoy/convoy')>('/convoy/convoy.ts');
  return { convoy, page: vite.middlewares };
}
