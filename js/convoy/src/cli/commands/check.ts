/** `convoy check`: compares code, database and stored documents, and changes nothing in the database. */
import type { CheckedTable, DatabaseTools, Drift } from '../../server/database-tools.js';
import { describeMisfits } from '../../server/schema-check.js';
import { count } from '../count.js';
import { type OutputFlags, runWithOutput } from '../data/output.js';
import { withProgress } from '../data/progress.js';
import { withProject, withTools } from '../data/project.js';
import type { ProjectFlags } from '../options.js';
import type { Terminal } from '../terminal.js';

export interface CheckFlags extends ProjectFlags, OutputFlags {
  /** Checks all documents instead of a sample. */
  readonly all?: boolean;
}

interface CheckReport extends Drift {
  readonly documents: readonly CheckedTable[];
}

export async function runCheck(flags: CheckFlags, terminal: Terminal): Promise<void> {
  await runWithOutput(flags, terminal, (out) =>
    withProject(flags, out, async ({ program, databaseUrl }) =>
      withTools(databaseUrl, program.schema, async (tools) => {
        const drift = await out.step('Comparing the schema with the database', () => tools.drift());
        const tables = Object.keys(program.schema.tables).sort();
        const documents = await checkAll(tables.filter(isReadable(drift)), flags.all === true, tools, out);
        const report = { ...drift, documents };
        return { report, ok: print(report, out) };
      }),
    ),
  );
}

/** Tables whose documents can be read. */
function isReadable({ problems }: Drift): (table: string) => boolean {
  const unreadable = new Set(['missing-table', 'missing-column', 'column-type']);
  const isDenied = (kind: string, message: string) => kind === 'missing-privilege' && message.includes('select');
  const skipped = problems.filter(({ kind, message }) => unreadable.has(kind) || isDenied(kind, message));
  const names = new Set(skipped.map(({ subject }) => subject));
  return (table) => !names.has(table);
}

async function checkAll(
  tables: readonly string[],
  all: boolean,
  tools: DatabaseTools,
  out: Terminal,
): Promise<CheckedTable[]> {
  return out.step('Checking documents', async (step) => {
    const checked: CheckedTable[] = [];
    await withProgress(step, tools, async () => {
      for (const table of tables) checked.push(await tools.checkDocuments(table, { all }));
    });
    const total = checked.reduce((sum, { documents }) => sum + documents, 0);
    const sampled = checked.some(({ isWhole }) => !isWhole) ? '; large tables by a sample, --all checks all' : '';
    step.result(`Checked ${count(total, 'document')}${sampled}`);
    return checked;
  });
}

/** Prints the findings; returns whether there is no drift. */
function print({ problems, notes, documents }: CheckReport, out: Terminal): boolean {
  for (const { message, remedy } of problems)
    out.fail(remedy === null ? message : `${message}; to solve it: ${remedy}`);
  let unfit = 0;
  for (const table of documents) {
    unfit += table.unfit;
    if (table.unfit > 0) out.fail(describeMisfits({ ...table, renamed: { from: [], to: [] } }));
    if (table.withoutDefaults > 0) {
      const documentsOf = count(table.withoutDefaults, 'document');
      out.info(`${table.table}: ${documentsOf} lack a field that a default fills when they are read`);
    }
    for (const { path, message, count: found, example } of table.forgotten) {
      out.info(`${table.table}: ${path} ${message} (in ${count(found, 'document')}, such as ${example})`);
    }
  }
  for (const { message, remedy } of notes) out.info(remedy === null ? message : `${message}: ${remedy}`);
  if (problems.length + unfit === 0) {
    out.done('The database matches the schema');
    return true;
  }
  out.fail(`${count(problems.length, 'difference')}, ${count(unfit, 'document')} that do not fit`);
  return false;
}
