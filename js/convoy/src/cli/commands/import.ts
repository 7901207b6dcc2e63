/** `convoy import`: stores the documents of an export of Convoy or Convex, or of files of JSON lines. */
import path from 'node:path';
import type { ImportReport } from '../../server/database-tools.js';
import { count } from '../count.js';
import { type OutputFlags, runWithOutput } from '../data/output.js';
import { withProgress } from '../data/progress.js';
import { withProject, withTools } from '../data/project.js';
import { listOf } from '../data/tables.js';
import type { ProjectFlags } from '../options.js';
import type { Terminal } from '../terminal.js';

export interface ImportFlags extends ProjectFlags, OutputFlags {
  readonly tables?: string;
  readonly replace?: boolean;
  readonly dryRun?: boolean;
}

export async function runImport(from: string, flags: ImportFlags, terminal: Terminal): Promise<void> {
  await runWithOutput(flags, terminal, (out) =>
    withProject(flags, out, async ({ program, databaseUrl }) =>
      withTools(databaseUrl, program.schema, async (tools) => {
        const source = path.resolve(from);
        const options = {
          from: source,
          tables: listOf(flags.tables),
          replace: flags.replace,
          dryRun: flags.dryRun,
          rejects: `${source}.rejected.jsonl`,
          ids: `${source}.ids.jsonl`,
        };
        const report = await out.step('Importing', async (step) => {
          const imported = await withProgress(step, tools, () => tools.import(options));
          step.result(describeImport(imported, flags.dryRun === true));
          return imported;
        });
        printImport(report, out);
        return { report, ok: report.rejectsFile === null };
      }),
    ),
  );
}

/** Prints the counts, the first rejected lines, and the files that were written. */
export function printImport(report: ImportReport, out: Terminal): void {
  const rows = report.tables.map(({ table, written, unchanged, rejected }) => {
    return [table, `${written} written, ${unchanged} unchanged, ${rejected} rejected`] as const;
  });
  if (rows.length > 0) out.table(rows);
  if (report.idsFile !== null) out.info(`New ids of the documents from Convex: ${report.idsFile}`);
  if (report.ignored.length > 0) {
    const [first, ...rest] = report.ignored;
    out.info(`Not imported: ${first}${rest.length > 0 ? ` and ${count(rest.length, 'more file')}` : ''}`);
  }
  if (report.rejectsFile === null) return;
  for (const { file, line, reason } of report.rejected) out.warn(`${file}:${line}: ${reason}`);
  const total = report.tables.reduce((sum, { rejected }) => sum + rejected, 0);
  const more = total - report.rejected.length;
  if (more > 0) out.warn(`and ${count(more, 'more line')}`);
  out.fail(
    `${count(total, 'line')} could not be stored. Their text and the reasons are in ${report.rejectsFile}. Correct the ` +
      'schema or the lines, and import again: documents that are stored already are skipped.',
  );
}

function describeImport({ tables }: ImportReport, dryRun: boolean): string {
  const written = tables.reduce((sum, table) => sum + table.written, 0);
  return `${dryRun ? 'Validated' : 'Imported'} ${count(written, 'document')} of ${count(tables.length, 'table')}`;
}
