/**
 * `convoy migrate`: brings the database up to date with the schema. Shows a plan first, creates and adds online, and
 * never drops a table, column or document.
 */
import { createConvoy } from '../../server/convoy.js';
import { rethrowAsConvoyError } from '../../server/engine-errors.js';
import { type LoadReport, loadNative, type PlannedStep } from '../../server/native.js';
import type { TableMisfits } from '../../server/schema-check.js';
import { type RunnableCode, runnableCode } from '../code/runnable.js';
import { canAsk, confirm } from '../confirm.js';
import { count } from '../count.js';
import { databaseFault } from '../dev/fault.js';
import { loadEnvFiles } from '../env-files.js';
import { describeSteps, judge, type MigrationPlan } from '../migration/plan.js';
import { layoutOf, type MigrateFlags, requiredDatabaseUrl } from '../options.js';
import { ReportedFailure, withResult } from '../result.js';
import type { Terminal } from '../terminal.js';

export async function runMigrate(flags: MigrateFlags, terminal: Terminal, cwd = process.cwd()): Promise<void> {
  const layout = layoutOf(flags, cwd);
  loadEnvFiles(layout.root, cwd);
  await withResult(flags, terminal, async (terminal) => {
    if (flags.skipDb) {
      const { written } = await runnableCode(flags, layout, terminal);
      terminal.done(written.length > 0 ? `Wrote ${written.join(', ')}` : 'The generated files are up to date');
      return { generated: written };
    }
    const databaseUrl = requiredDatabaseUrl(process.env);
    // A missing engine is reported before anything is written.
    loadNative();
    const code = await runnableCode(flags, layout, terminal);
    return migrate({ flags, databaseUrl, code, terminal });
  });
}

interface Migration {
  readonly flags: MigrateFlags;
  readonly databaseUrl: string;
  readonly code: RunnableCode;
  readonly terminal: Terminal;
}

async function migrate(migration: Migration): Promise<object> {
  const { flags, terminal, code } = migration;
  const { report, creates } = await terminal.step('Comparing the schema with the database', async (step) => {
    const planned = await plan(migration);
    step.result('Compared the schema with the database');
    return planned;
  });
  const steps = report.pending ?? [];
  const misfits = creates || steps.some(({ kind }) => kind === 'system') ? [] : await misfitsOf(migration);
  const { blockers, warnings } = judge({ steps, misfits } satisfies MigrationPlan);
  show(migration, { report, steps, creates, warnings });
  const result = { plan: steps, createsDatabase: creates, blockers, warnings, leftOver: report.leftOver };
  if (blockers.length > 0) throw new Error(`Nothing was changed. ${blockers.join('\n')}`);
  if (flags.dryRun) return { ...result, applied: false };
  const isUpToDate = steps.length === 0 && !creates;
  if (!isUpToDate && warnings.length > 0 && !flags.yes) await expectConsent(flags, terminal);
  const applied = isUpToDate ? null : await apply(migration);
  const backfilled = flags.backfill ? await backfill(migration) : [];
  terminal.done(
    applied === null
      ? `The database is up to date (${count(code.tableCount, 'table')})`
      : `Migrated${applied.created.length > 0 ? `: created ${applied.created.join(', ')}` : ''}`,
  );
  for (const warning of applied?.warnings ?? []) terminal.warn(warning);
  return { ...result, applied: applied !== null, created: applied?.created ?? [], backfill: backfilled };
}

/** `creates`: the database does not exist, and the migration creates it. */
async function plan({ databaseUrl, code }: Migration): Promise<{ report: LoadReport; creates: boolean }> {
  const native = loadNative();
  try {
    const text = await rethrowAsConvoyError(
      native.planMigration(JSON.stringify({ databaseUrl }), JSON.stringify(code.schema)),
    );
    return { report: JSON.parse(text) as LoadReport, creates: false };
  } catch (error) {
    if (databaseFault(error)?.kind !== 'no-database') throw error;
    return { report: { tables: {}, created: [], warnings: [], leftOver: [], pending: [] }, creates: true };
  }
}

async function apply({ databaseUrl, code, terminal }: Migration): Promise<LoadReport> {
  return terminal.step('Migrating', async (step) => {
    // The engine logs the progress of index builds, and which sessions hold a lock that it waits for.
    const options = JSON.stringify({ databaseUrl, createDatabase: true });
    const text = await rethrowAsConvoyError(loadNative().applyMigration(options, JSON.stringify(code.schema)));
    step.result('Applied the plan');
    return JSON.parse(text) as LoadReport;
  });
}

/** Compares stored documents with the new schema, before anything is changed. */
async function misfitsOf({ databaseUrl, code, terminal }: Migration): Promise<readonly TableMisfits[]> {
  return terminal.step('Checking stored documents', async (step) => {
    const convoy = await createConvoy({ program: code.program, databaseUrl, sync: 'inspect' });
    try {
      const found = await convoy.checkDocuments();
      step.result('Checked stored documents');
      return found;
    } finally {
      await convoy.close();
    }
  });
}

async function backfill({ databaseUrl, code, terminal }: Migration) {
  return terminal.step('Writing defaults', async (step) => {
    const convoy = await createConvoy({ program: code.program, databaseUrl, sync: 'require' });
    try {
      const tables = await convoy.backfill(({ table, documents, written }) => {
        step.now(
          `Writing defaults: ${table}, ${written.toLocaleString('en')} of ${documents.toLocaleString('en')} read`,
        );
      });
      const written = tables.reduce((sum, table) => sum + table.written, 0);
      const unfit = tables.reduce((sum, table) => sum + table.unfit, 0);
      const rest = unfit === 0 ? '' : `; ${count(unfit, 'document')} that do not fit the schema were left as they are`;
      step.result(`Wrote defaults into ${count(written, 'document')}${rest}`);
      return tables;
    } finally {
      await convoy.close();
    }
  });
}

interface Shown {
  readonly report: LoadReport;
  readonly steps: readonly PlannedStep[];
  readonly creates: boolean;
  readonly warnings: readonly string[];
}

function show({ flags, terminal }: Migration, { report, steps, creates, warnings }: Shown): void {
  if (creates) terminal.info('Plan: create the database, and everything in it');
  else if (steps.length > 0) terminal.info('Plan:');
  for (const line of describeSteps(steps, { withSql: flags.dryRun === true })) terminal.info(`  ${line}`);
  if (steps.length === 0 && !creates && flags.dryRun) terminal.done('The database is up to date');
  for (const warning of [...report.warnings, ...warnings]) terminal.warn(warning);
  for (const thing of report.leftOver) terminal.info(`Left unchanged: ${thing}`);
}

async function expectConsent(flags: MigrateFlags, terminal: Terminal): Promise<void> {
  if (flags.json || !canAsk()) {
    throw new Error('Nothing was changed: the plan has warnings. Run the command again with --yes to apply it.');
  }
  if (await confirm('Apply the plan?')) return;
  terminal.info('Nothing was changed');
  throw new ReportedFailure();
}
