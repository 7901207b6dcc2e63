/**
 * Judges the plan of a migration: what makes it impossible, and what could hurt an application that is running. Pure.
 */
import type { PlannedStep } from '../../server/native.js';
import type { TableMisfits } from '../../server/schema-check.js';
import { count } from '../count.js';

export interface MigrationPlan {
  readonly steps: readonly PlannedStep[];
  /** Stored documents that do not fit the schema; empty if there are none, or no data yet. */
  readonly misfits: readonly TableMisfits[];
}

export interface Judgement {
  /** Why a step would fail. Nothing may be changed. */
  readonly blockers: readonly string[];
  /** Effects on running applications. They have to be confirmed. */
  readonly warnings: readonly string[];
}

/** From this many documents on, the build of an index takes long enough to mention it. */
const LARGE_TABLE = 100_000;

export function judge({ steps, misfits }: MigrationPlan): Judgement {
  const blockers: string[] = [];
  const warnings: string[] = [];
  for (const { name, kind, unique, concurrently, rows, duplicates } of steps) {
    if (kind !== 'index') continue;
    if (unique && duplicates !== null && duplicates > 0) {
      const values = duplicates >= 1_000 ? '1,000 or more values' : count(duplicates, 'value');
      blockers.push(
        `${name} cannot be unique: ${values} of its fields ${duplicates === 1 ? 'is' : 'are'} in more than one document. ` +
          'Change or delete these documents first, or make the index not unique.',
      );
    } else if (unique && concurrently) {
      const unknown = duplicates === null ? ' Whether documents have equal values could not be checked in time;' : '';
      warnings.push(
        `${name}: from the start of the build, writes of equal values are rejected, also those of servers that run older code.${unknown}` +
          (unknown === '' ? '' : ' if some have, the build fails, and its rest is removed.'),
      );
    }
    if (!concurrently && rows !== null && rows > 0) {
      warnings.push(`${name}: the table cannot be written while the index is built.`);
    }
    if (concurrently && (rows ?? LARGE_TABLE) >= LARGE_TABLE) {
      const size = rows === null ? 'an unknown number of documents' : `about ${rows.toLocaleString('en')} documents`;
      warnings.push(`${name} is built over ${size}. Writes go on meanwhile, and the disk is busy for some time.`);
    }
  }
  for (const { table, documents, isWhole, unfit, misfits: found } of misfits) {
    if (unfit === 0) continue;
    const all = count(documents, 'document');
    const checked = isWhole ? all : `${all} that were checked`;
    const problems = found.slice(0, 3).map(({ path, message, example }) => {
      return `${path === '' ? 'the document' : path}: ${message} (such as ${example})`;
    });
    warnings.push(
      `${table}: ${unfit.toLocaleString('en')} of ${checked} do not fit the schema, so changing them will fail: ${problems.join('; ')}.`,
    );
  }
  return { blockers, warnings };
}

/** The lines that show a plan, without colours. */
export function describeSteps(steps: readonly PlannedStep[], { withSql }: { readonly withSql: boolean }): string[] {
  return steps.flatMap(({ kind, name, concurrently, rows, sql }) => {
    const verb = { system: 'create', table: 'create', index: 'build', cleanup: 'drop', triggers: 'create' }[kind];
    const how = kind !== 'index' ? '' : concurrently ? ' (concurrently)' : '';
    const size = rows === null || rows === 0 ? '' : `, about ${rows.toLocaleString('en')} documents`;
    const text = `${verb} ${name}${how}${size}`;
    return withSql ? [text, ...sql.flatMap((each) => `${each};`.split('\n').map((part) => `    ${part}`))] : [text];
  });
}
