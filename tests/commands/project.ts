/** A project on its own database, and the `convoy` program that runs its commands. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import { makeProject, type TestProject } from '../../js/convoy/src/cli/code/project.test-kit.js';
import { makeProgram, type Program, type RunningProgram } from '../../js/convoy/src/cli/program.test-kit.js';
import { freshDatabaseUrl } from '../app.js';

/** The schema of the project: channels with unique names, and messages. */
export const schemaText = `import { defineRef, defineSchema, defineTable } from '@avvos/convoy';
import { z } from 'zod';

export default defineSchema({
  channels: defineTable({ name: z.string() }).index('by_name', ['name'], { unique: true }),
  messages: defineTable({ channelId: defineRef('channels').optional(), body: z.string(), likes: z.number().default(0) })
    .index('by_channel', ['channelId']),
});
`;

export interface CommandResult {
  readonly code: number | string | null;
  readonly output: string;
}

export interface CommandProject {
  readonly project: TestProject;
  readonly databaseUrl: string;
  readonly sql: pg.Client;
  /** A temporary folder outside of the project. */
  readonly folder: string;
  /** Runs a command to its end. */
  run(...args: string[]): Promise<CommandResult>;
  /** Runs a command with `--json`; the report is its standard output. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into reports of all commands.
  json(...args: string[]): Promise<{ readonly code: number | string | null; readonly report: any }>;
  start(args: readonly string[], env?: Readonly<Record<string, string>>): RunningProgram;
  close(): Promise<void>;
}

/** Opens a project for each test of a file, with one program for all of them. */
export function eachWithProject(use: (project: CommandProject) => void): void {
  let program: Program;
  let project: CommandProject;
  beforeAll(async () => {
    program = await makeProgram();
  });
  afterAll(() => program.remove());
  beforeEach(async () => {
    project = await openProject(program);
    use(project);
  });
  afterEach(() => project.close());
}

/** Makes a project whose tables exist. */
export async function openProject(
  program: Program,
  files: Readonly<Record<string, string>> = {},
): Promise<CommandProject> {
  const project = await makeProject({ 'convoy/schema.ts': schemaText, ...files });
  const databaseUrl = freshDatabaseUrl();
  const start = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
    program.run(args, project.root, { DATABASE_URL: databaseUrl, ...env });
  const run = async (...args: string[]) => {
    const running = start(args);
    return { code: await running.ended, output: running.output };
  };
  const synced = await run('dev', '--once');
  if (synced.code !== 0) throw new Error(synced.output);
  const sql = new pg.Client(databaseUrl);
  await sql.connect();
  const folder = await mkdtemp(path.join(tmpdir(), 'convoy-commands-'));
  return {
    project,
    databaseUrl,
    sql,
    folder,
    run,
    start,
    async json(...args) {
      const running = start([...args, '--json']);
      let stdout = '';
      running.process.stdout?.on('data', (chunk: string) => {
        stdout += chunk;
      });
      const code = await running.ended;
      try {
        return { code, report: JSON.parse(stdout) };
      } catch (error) {
        throw new Error(`the command printed no JSON; its output:\n${running.output}`, { cause: error });
      }
    },
    async close() {
      await sql.end();
      await rm(folder, { recursive: true });
      await project.remove();
    },
  };
}

export { makeProgram, type Program };

/** The lines of a file of JSON lines. */
export async function linesOf(file: string): Promise<string[]> {
  return (await readFile(file, 'utf8')).trimEnd().split('\n');
}

/** All rows of a table as text, in the order of their ids: equal texts mean equal tables. */
export async function contentOf(sql: pg.Client, table: string): Promise<string> {
  const { rows } = await sql.query(
    `select id, created_at::text as created, updated_at::text as updated, data::text as data from "${table}" order by id`,
  );
  return JSON.stringify(rows);
}
