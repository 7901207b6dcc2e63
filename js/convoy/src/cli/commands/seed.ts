/** `convoy seed`: fills an empty database, by `convoy/seed.ts` or from files of JSON lines. */
import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { makeMutationRef, makeQueryRef } from '../../protocol/refs.js';
import { type Convoy, createConvoy } from '../../server/convoy.js';
import { internalMutation, internalQuery } from '../../server/functions.js';
import { bundleFile } from '../code/bundle-file.js';
import { count } from '../count.js';
import { type CommandResult, type OutputFlags, runWithOutput } from '../data/output.js';
import { withProgress } from '../data/progress.js';
import { type OpenProject, withProject, withTools } from '../data/project.js';
import type { ProjectFlags } from '../options.js';
import type { Terminal } from '../terminal.js';
import { printImport } from './import.js';

export interface SeedFlags extends ProjectFlags, OutputFlags {
  /** Seeds a database that contains documents. */
  readonly force?: boolean;
}

/** A seed may take longer, and write more, than a mutation of a client. */
const LIMITS = { mutationMs: 3_600_000, queryMs: 600_000, maxDocumentsWritten: 1_000_000, maxDocumentsRead: 1_000_000 };

/** The module of the functions that this command adds to the program. */
const MODULE = 'convoy: seed';

export async function runSeed(from: string | undefined, flags: SeedFlags, terminal: Terminal): Promise<void> {
  await runWithOutput(flags, terminal, (out) =>
    withProject(flags, out, async (project) => {
      const source = await sourceOf(from, project);
      return source.kind === 'code'
        ? seedByCode(source.file, project, flags, out)
        : seedByFiles(source.file, project, flags, out);
    }),
  );
}

interface SeedSource {
  readonly kind: 'code' | 'files';
  readonly file: string;
}

async function sourceOf(from: string | undefined, { layout }: OpenProject): Promise<SeedSource> {
  const candidates =
    from === undefined
      ? ['seed.ts', 'seed.js', 'seed'].map((name) => path.join(layout.convoyFolder, name))
      : [path.resolve(from)];
  const file = candidates.find((candidate) => existsSync(candidate));
  if (file === undefined) {
    const names = candidates.map((candidate) => path.relative(process.cwd(), candidate)).join(', ');
    throw new Error(
      `There is nothing to seed from: no ${names}. Write convoy/seed.ts with a default-exported async function that ` +
        'takes the context of a mutation, or put a <table>.jsonl for each table into convoy/seed/.',
    );
  }
  const isCode = (await stat(file)).isFile() && /\.[cm]?[jt]s$/.test(file);
  return { kind: isCode ? 'code' : 'files', file };
}

async function seedByCode(file: string, project: OpenProject, flags: SeedFlags, out: Terminal): Promise<CommandResult> {
  const seed = await importSeed(file, project);
  return withConvoy(project, seed, async (convoy) => {
    await expectEmpty(convoy, flags);
    const name = path.relative(process.cwd(), file);
    await out.step(`Running ${name}`, async (step) => {
      await convoy.mutation(makeMutationRef(`${MODULE}.run`), {}, { context: {} });
      step.result(`Ran ${name}: its writes are committed`);
    });
    return { report: { seed: file }, ok: true };
  });
}

async function seedByFiles(
  from: string,
  project: OpenProject,
  flags: SeedFlags,
  out: Terminal,
): Promise<CommandResult> {
  // Loading the program creates the tables.
  await withConvoy(
    project,
    async () => {},
    (convoy) => expectEmpty(convoy, flags),
  );
  return withTools(project.databaseUrl, project.program.schema, async (tools) => {
    const state = path.join(project.layout.stateFolder, 'seed');
    const options = { from, rejects: `${state}.rejected.jsonl`, ids: `${state}.ids.jsonl` };
    const report = await out.step('Seeding', async (step) => {
      const imported = await withProgress(step, tools, () => tools.import(options));
      const written = imported.tables.reduce((sum, table) => sum + table.written, 0);
      step.result(`Seeded ${count(written, 'document')} of ${count(imported.tables.length, 'table')}`);
      return imported;
    });
    printImport(report, out);
    return { report, ok: report.rejectsFile === null };
  });
}

type Seed = (context: unknown) => unknown;

async function importSeed(file: string, { layout }: OpenProject): Promise<Seed> {
  const module = (await import(pathToFileURL(await bundleFile(layout, file)).href)) as { readonly default?: unknown };
  if (typeof module.default === 'function') return module.default as Seed;
  throw new Error(
    `${path.relative(process.cwd(), file)} has no default-exported function. Write: ` +
      "export default async (ctx: MutationContext) => { await ctx.db.insert('messages', { … }); };",
  );
}

async function withConvoy<T>(
  { program, databaseUrl }: OpenProject,
  seed: Seed,
  work: (convoy: Convoy) => Promise<T>,
): Promise<T> {
  const added = {
    run: internalMutation({
      handler: async (context) => {
        await seed(context);
        return null;
      },
    }),
    filled: internalQuery({
      handler: async ({ db }) => {
        const filled: string[] = [];
        for (const table of Object.keys(program.schema.tables)) {
          if ((await db.query(table as never).first()) !== null) filled.push(table);
        }
        return filled;
      },
    }),
  };
  const { schema, functions } = program;
  const convoy = await createConvoy({
    schema,
    functions: { ...functions, [MODULE]: added },
    databaseUrl,
    createDatabase: true,
    limits: LIMITS,
  });
  try {
    return await work(convoy);
  } finally {
    await convoy.close();
  }
}

/** Rejects if a table contains documents, unless `--force` is given. */
async function expectEmpty(convoy: Convoy, { force }: SeedFlags): Promise<void> {
  if (force === true) return;
  const filled = (await convoy.query(makeQueryRef(`${MODULE}.filled`), {}, { context: {} })) as readonly string[];
  if (filled.length === 0) return;
  throw new Error(
    `The database contains documents already (in ${filled.join(', ')}), and nothing was written. To seed it anyway: ` +
      'npx convoy seed --force',
  );
}
