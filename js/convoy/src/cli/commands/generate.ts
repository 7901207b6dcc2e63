/** `convoy generate`: writes `_generated/`, without a database and without the engine. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { compileProject } from '../code/compile.js';
import { count } from '../count.js';
import { prepareStateFolder, removeUnusedState } from '../dev/database.js';
import { loadEnvFiles } from '../env-files.js';
import { layoutOf, type ProjectFlags } from '../options.js';
import type { Terminal } from '../terminal.js';

export async function runGenerate(flags: ProjectFlags, terminal: Terminal, cwd = process.cwd()): Promise<void> {
  const layout = layoutOf(flags, cwd);
  loadEnvFiles(layout.root, cwd);
  const isNew = !existsSync(layout.stateFolder);
  await prepareStateFolder(layout);
  const folder = path.relative(cwd, layout.generatedFolder);
  await terminal
    .step(`Generating ${folder}`, async (step) => {
      const { written, removed, functionCount, tableCount } = await compileProject(layout);
      const what = `${count(functionCount, 'function')}, ${count(tableCount, 'table')}`;
      const deleted = removed.length > 0 ? `; deleted ${removed.join(', ')}, which an earlier version wrote` : '';
      const state = written.length > 0 ? `Wrote ${written.join(', ')} to ${folder}` : `${folder} is up to date`;
      step.result(`${state} (${what})${deleted}`);
    })
    .catch(async (error: unknown) => {
      if (isNew) await removeUnusedState(layout);
      throw error;
    });
}
