/** Bundles `use-client.mjs` as Metro does for React Native: `globalThis.bundled` has its exports. */
import { cp, mkdir, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { root } from '../../scripts/run.mjs';

/**
 * @param {string} tools the folder whose `node_modules` have Metro
 * @param {string} folder an empty one, which gets a project and the bundle
 * @returns {Promise<string>} the path of the bundle
 */
export async function bundleWithMetro(tools, folder) {
  const require = createRequire(path.join(tools, 'package.json'));
  const Metro = require('metro');
  const modules = path.join(tools, 'node_modules');
  const client = path.join(folder, 'node_modules/@avvos/convoy');
  await mkdir(client, { recursive: true });
  for (const part of ['dist', 'package.json'])
    await cp(path.join(root, 'js/convoy', part), path.join(client, part), { recursive: true });
  const parser = 'node_modules/eventsource-parser';
  await cp(path.join(root, parser), path.join(folder, parser), { recursive: true, dereference: true });
  await cp(path.join(import.meta.dirname, '../programs/use-client.mjs'), path.join(folder, 'use-client.mjs'));
  await writeFile(path.join(folder, 'main.js'), "globalThis.bundled = require('./use-client.mjs');\n");
  const presets = [path.join(modules, '@react-native/babel-preset')];
  await writeFile(path.join(folder, 'babel.config.js'), `module.exports = ${JSON.stringify({ presets })};\n`);

  const defaults = await Metro.loadConfig({ cwd: folder }, {});
  const config = {
    ...defaults,
    projectRoot: folder,
    watchFolders: [folder, modules],
    cacheStores: [],
    maxWorkers: 1,
    reporter: { update() {} },
    resolver: { ...defaults.resolver, sourceExts: ['js', 'mjs', 'json'], nodeModulesPaths: [modules] },
  };
  const out = path.join(folder, 'bundle.js');
  await Metro.runBuild(config, { entry: 'main.js', out, platform: 'ios', dev: false, minify: false });
  return out;
}
