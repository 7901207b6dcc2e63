/** Opens what the commands for data need: the schema of the project, and its database. */
import { existsSync } from 'node:fs';
import type { SchemaDefinition } from '../../schema/index.js';
import { DatabaseTools } from '../../server/database-tools.js';
import type { ProgramSource } from '../../server/program.js';
import { addressOf, importProgram } from '../../server/program-module.js';
import { compileProject } from '../code/compile.js';
import { findProjectFiles } from '../code/files.js';
import { count } from '../count.js';
import { openDatabase, prepareStateFolder, removeUnusedState } from '../dev/database.js';
import { loadEnvFiles } from '../env-files.js';
import { layoutOf, type ProjectFlags, type ProjectLayout } from '../options.js';
import type { Terminal } from '../terminal.js';

export interface OpenProject {
  readonly layout: ProjectLayout;
  readonly program: ProgramSource;
  readonly databaseUrl: string;
}

/** Compiles the project and loads its program into this process. */
export async function loadProgram(layout: ProjectLayout, terminal: Terminal): Promise<ProgramSource> {
  await findProjectFiles(layout);
  const isNew = !existsSync(layout.stateFolder);
  await prepareStateFolder(layout);
  try {
    const { program } = await terminal.step('Compiling', async (step) => {
      const compiled = await compileProject(layout);
      step.result(`Compiled ${count(compiled.tableCount, 'table')}, ${count(compiled.functionCount, 'function')}`);
      return compiled;
    });
    return await importProgram(addressOf({ program }));
  } catch (error) {
    if (isNew) await removeUnusedState(layout);
    throw error;
  }
}

/** Runs `work` with the project's program and a database that accepts connections. */
export async function withProject<T>(
  flags: ProjectFlags,
  terminal: Terminal,
  work: (project: OpenProject) => Promise<T>,
): Promise<T> {
  const layout = layoutOf(flags, process.cwd());
  for (const file of loadEnvFiles(layout.root, process.cwd())) terminal.detail(`loaded ${file}`);
  const program = await loadProgram(layout, terminal);
  const database = await openDatabase(process.env.DATABASE_URL || null, layout, terminal);
  try {
    return await work({ layout, program, databaseUrl: database.url });
  } finally {
    await database.stop();
  }
}

/** Runs `work` with the project's database opened for reading and writing documents. */
export async function withTools<T>(
  databaseUrl: string,
  schema: SchemaDefinition,
  work: (tools: DatabaseTools) => Promise<T>,
): Promise<T> {
  const tools = await DatabaseTools.open(databaseUrl, schema);
  try {
    return await work(tools);
  } finally {
    await tools.close();
  }
}
