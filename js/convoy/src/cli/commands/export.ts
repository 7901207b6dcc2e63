/** `convoy export`: writes all documents to a folder or a tar file of JSON lines. */
import path from 'node:path';
import type { ExportReport } from '../../server/database-tools.js';
import { count } from '../count.js';
import { type OutputFlags, runWithOutput } from '../data/output.js';
import { withProgress } from '../data/progress.js';
import { withProject, withTools } from '../data/project.js';
import { listOf } from '../data/tables.js';
import type { ProjectFlags } from '../options.js';
import type { Terminal } from '../terminal.js';

export interface ExportFlags extends ProjectFlags, OutputFlags {
  /** Names separated by commas. */
  readonly tables?: string;
  readonly force?: boolean;
}

export async function runExport(to: string, flags: ExportFlags, terminal: Terminal): Promise<void> {
  await runWithOutput(flags, terminal, (out) =>
    withProject(flags, out, async ({ program, databaseUrl }) =>
      withTools(databaseUrl, program.schema, async (tools) => {
        const options = { to: path.resolve(to), tables: listOf(flags.tables), force: flags.force };
        const report = await out.step('Exporting', async (step) => {
          const exported = await withProgress(step, tools, () => tools.export(options));
          step.result(describeExport(exported, to));
          return exported;
        });
        for (const column of report.leftOut) {
          out.warn(`The column ${column} is not part of documents and was not exported; pg_dump exports whole tables`);
        }
        out.table(
          report.tables.map(({ table, content }) => [table, `${count(content.documents, 'document')}`] as const),
        );
        return { report, ok: true };
      }),
    ),
  );
}

function describeExport({ tables, resumed }: ExportReport, to: string): string {
  const documents = tables.reduce((sum, { content }) => sum + content.documents, 0);
  const continued = resumed ? ' (continued after an interruption; each part is a snapshot of its own)' : '';
  return `Exported ${count(documents, 'document')} of ${count(tables.length, 'table')} to ${to}${continued}`;
}
