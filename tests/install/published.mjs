/** All packages, packed and published to a registry of the test, and the environment in which users install them. */
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { packAll } from '../../scripts/pack.mjs';
import { startRegistry } from './registry.mjs';
import { installTools } from './tools.mjs';

/**
 * Publishes everything to a registry that runs until `remove`. `folder` is for the projects of the test.
 *
 * @returns {Promise<{ folder: string, tools: string, url: string, remove: () => Promise<void> }>}
 */
export async function publishPackages() {
  const folder = await mkdtemp(path.join(tmpdir(), 'convoy-install-'));
  // Readable for everyone: started by root, Postgres runs as another user.
  await chmod(folder, 0o755);
  const tools = await installTools();
  const data = path.join(folder, 'registry');
  const packages = path.join(folder, 'packages');
  for (const each of [data, packages]) await mkdir(each);
  const registry = await startRegistry(tools, data);
  const remove = async () => {
    await registry.stop();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const addon = process.env.CONVOY_NATIVE_PATH;
    const packed = await packAll({
      out: packages,
      withoutAddon: 'manifest only',
      ...(addon ? { addon: only(addon) } : {}),
    });
    for (const { file } of packed) await registry.publish(file);
  } catch (error) {
    await remove();
    throw error;
  }
  return { folder, tools, url: registry.url, remove };
}

/** The addon that `CONVOY_NATIVE_PATH` names is that of this platform. */
function only(addon) {
  const own = `${process.platform}-${process.arch}`;
  return (tag) => (tag === own || tag === `${own}-gnu` ? addon : path.join(path.dirname(addon), 'missing', tag));
}

/**
 * The environment of an ordinary user: a home without settings, and the registry of the test.
 *
 * @param {string} home
 * @param {string} url
 * @param {{ scripts?: boolean }} [options] whether packages may run install scripts
 */
export function environment(home, url, { scripts = true } = {}) {
  const { CONVOY_NATIVE_PATH: _, DATABASE_URL: __, CI: ___, ...inherited } = process.env;
  const own = Object.entries(inherited).filter(
    ([name]) => !/^(npm|pnpm|yarn|bun)_/i.test(name) && !/^VITEST|^NODE_/.test(name),
  );
  return {
    ...Object.fromEntries(own),
    HOME: home,
    PATH: `${path.join(home, 'bin')}:${process.env.PATH}`,
    NO_COLOR: '1',
    npm_config_registry: url,
    npm_config_update_notifier: 'false',
    npm_config_yes: 'false',
    // The packages were published a moment ago.
    pnpm_config_registry: url,
    pnpm_config_minimum_release_age: '0',
    YARN_REGISTRY: url,
    YARN_NPM_REGISTRY_SERVER: url,
    YARN_UNSAFE_HTTP_WHITELIST: '127.0.0.1',
    YARN_NPM_MINIMAL_AGE_GATE: '0',
    YARN_ENABLE_TELEMETRY: '0',
    YARN_ENABLE_SCRIPTS: String(scripts),
    BUN_CONFIG_REGISTRY: url,
    ...(process.env.NODE_EXTRA_CA_CERTS ? { NODE_EXTRA_CA_CERTS: process.env.NODE_EXTRA_CA_CERTS } : {}),
  };
}
