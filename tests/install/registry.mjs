/** A registry on the loopback address: our packages are published to it, and it fetches all others from the usual one. */
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { runToEnd, startUntil } from './processes.mjs';

/**
 * @param {string} tools the folder with verdaccio
 * @param {string} folder an empty folder for its data
 * @returns {Promise<{ url: string, publish: (tarball: string) => Promise<void>, stop: () => Promise<void> }>}
 */
export async function startRegistry(tools, folder) {
  const upstream = (await runToEnd('npm', ['config', 'get', 'registry'], { cwd: folder })).output.trim();
  const ours = { access: '$all', publish: '$anonymous' };
  const config = {
    storage: path.join(folder, 'storage'),
    auth: { htpasswd: { file: path.join(folder, 'users') } },
    uplinks: { public: { url: upstream, maxage: '60m', timeout: '60s', max_fails: 10 } },
    packages: {
      '@avvos/*': ours,
      'create-convoy-app': ours,
      '**': { access: '$all', proxy: 'public' },
    },
    // An engine of a development build has its symbols.
    max_body_size: '200mb',
    log: { type: 'stdout', format: 'pretty', level: 'warn' },
  };
  // YAML includes JSON.
  await writeFile(path.join(folder, 'config.yaml'), JSON.stringify(config));
  const port = await freePort();
  const verdaccio = path.join(tools, 'node_modules/verdaccio/bin/verdaccio');
  const args = [verdaccio, '--config', path.join(folder, 'config.yaml'), '--listen', `127.0.0.1:${port}`];
  const { stop } = await startUntil(/http address/, process.execPath, args, { cwd: folder });
  const url = `http://127.0.0.1:${port}`;
  return {
    url,
    stop,
    publish: async (tarball) => {
      // The client wants a token, which the registry ignores.
      const words = [
        'publish',
        '--ignore-scripts',
        '--registry',
        url,
        `--//127.0.0.1:${port}/:_authToken=any`,
        tarball,
      ];
      const { code, output } = await runToEnd('npm', words, { cwd: folder });
      if (code !== 0) throw new Error(`${tarball} was not published:\n${output}`);
    },
  };
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
