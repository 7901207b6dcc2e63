/** `convoy build`: bundles the project into a folder that `convoy start` runs. */
import path from 'node:path';
import { loadConfig } from '../code/config-file.js';
import { buildForProduction } from '../code/production.js';
import { DEFAULT_BUILD_FOLDER } from '../code/runnable.js';
import { count } from '../count.js';
import { prepareStateFolder } from '../dev/database.js';
import { loadEnvFiles } from '../env-files.js';
import { type BuildFlags, layoutOf } from '../options.js';
import { withResult } from '../result.js';
import type { Terminal } from '../terminal.js';

export async function runBuild(flags: BuildFlags, terminal: Terminal, cwd = process.cwd()): Promise<void> {
  const layout = layoutOf(flags, cwd);
  loadEnvFiles(layout.root, cwd);
  await withResult(flags, terminal, async (terminal) => {
    await prepareStateFolder(layout);
    const config = await loadConfig(layout);
    const folder = path.resolve(layout.root, flags.out ?? config.build?.outDir ?? DEFAULT_BUILD_FOLDER);
    if (folder === layout.root || layout.root.startsWith(folder + path.sep) || folder === layout.convoyFolder) {
      throw new Error(`${folder} holds the sources. Choose another folder with --out.`);
    }
    const name = path.relative(cwd, folder);
    return terminal.step(`Building ${name}`, async (step) => {
      const { manifest, sizes, written } = await buildForProduction(layout, config, folder);
      const bytes = Object.entries(sizes).reduce((sum, [file, size]) => sum + (file.endsWith('.map') ? 0 : size), 0);
      const what = `${count(manifest.functions.length, 'function')}, ${count(manifest.tables.length, 'table')}`;
      const wrote = written.length > 0 ? `, wrote ${written.join(', ')}` : '';
      step.result(`Built ${name} (${what}, ${Math.ceil(bytes / 1024)} KiB, ${manifest.hash})${wrote}`);
      return { folder, hash: manifest.hash, functions: manifest.functions, external: manifest.external, sizes };
    });
  });
}
