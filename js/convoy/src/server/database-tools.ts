/**
 * Exports, imports and checks all documents of a database. The engine moves them; this thread validates, since it has
 * the schema. Memory is bounded by the size of a few batches.
 */

import { describeSchema, type SchemaDefinition } from '../schema/index.js';
import { formatId } from '../values/ids.js';
import { rethrowAsConvoyError } from './engine-errors.js';
import { loadNativeTools, type NativeTools } from './native-tools.js';
import { parseJson } from './parse-json.js';
import { prepareProgram, type Table } from './program.js';
import { type CheckResult, Findings, problemsOf, SAMPLE_SIZE } from './stored-documents.js';

/** The current work, for display. */
export interface ProgressStep {
  /** `exporting`, `packing`, `reading`, `importing`, `checking`. */
  readonly action: string;
  readonly table: string;
  readonly documents: number;
  /** The approximate number of documents, if it is known. */
  readonly total: number | null;
}

export interface ExportOptions {
  /** A folder, or a file whose name ends with `.tar`. */
  readonly to: string;
  /** All tables if absent. */
  readonly tables?: readonly string[] | undefined;
  /** Whether to replace an export that exists. */
  readonly force?: boolean | undefined;
}

export interface ExportReport {
  readonly to: string;
  readonly tables: readonly {
    readonly table: string;
    readonly file: string;
    readonly content: { readonly documents: number; readonly bytes: number; readonly sha256: string };
  }[];
  /** It continued an interrupted export. */
  readonly resumed: boolean;
  /** Columns that are not part of documents, which were not exported. */
  readonly leftOut: readonly string[];
}

export interface ImportOptions {
  /** A folder, a tar file or a zip file. */
  readonly from: string;
  readonly tables?: readonly string[] | undefined;
  /** Whether to overwrite documents that exist and differ. */
  readonly replace?: boolean | undefined;
  /** Whether only to validate. */
  readonly dryRun?: boolean | undefined;
  /** The file for rejected lines. */
  readonly rejects: string;
  /** The file for the new ids of documents from Convex. */
  readonly ids: string;
}

export interface ImportReport {
  readonly tables: readonly {
    readonly table: string;
    readonly lines: number;
    readonly written: number;
    readonly unchanged: number;
    readonly rejected: number;
  }[];
  /** The first rejected lines. */
  readonly rejected: readonly {
    readonly file: string;
    readonly line: number;
    readonly table: string;
    readonly reason: string;
  }[];
  readonly rejectsFile: string | null;
  readonly idsFile: string | null;
  /** Files that were not imported. */
  readonly ignored: readonly string[];
}

/** A difference between the schema and the database. */
export interface DriftFinding {
  readonly kind: string;
  readonly subject: string;
  readonly message: string;
  readonly remedy: string | null;
}

export interface Drift {
  readonly problems: readonly DriftFinding[];
  readonly notes: readonly DriftFinding[];
}

/** The documents of one table compared with its schema. */
export interface CheckedTable extends CheckResult {
  readonly table: string;
  /** False for a sample. */
  readonly isWhole: boolean;
  /** Documents that lack a field which a constant default fills when they are read. */
  readonly withoutDefaults: number;
}

/** The server and the connection. */
export interface Diagnosis {
  readonly version: string;
  readonly role: string;
  readonly database: string;
  readonly maxConnections: number;
  readonly connections: number;
  readonly tls: boolean;
  readonly pooler: boolean;
  readonly hasLayout: boolean;
  readonly standby: boolean;
  readonly readOnly: boolean;
  readonly roundTripMs: number;
  readonly missingPrivileges: readonly { readonly what: string; readonly remedy: string }[];
}

export class DatabaseTools {
  readonly #native: NativeTools;
  readonly #tables: ReadonlyMap<string, Table>;

  private constructor(native: NativeTools, tables: ReadonlyMap<string, Table>) {
    this.#native = native;
    this.#tables = tables;
  }

  /** Connects. Changes nothing in the database. */
  static async open(databaseUrl: string, schema: SchemaDefinition): Promise<DatabaseTools> {
    const options = JSON.stringify({ databaseUrl, schema: describeSchema(schema) });
    const native = await rethrowAsConvoyError(loadNativeTools().openTools(options));
    return new DatabaseTools(native, prepareProgram({ schema, functions: {} }).tables);
  }

  get progress(): ProgressStep {
    return JSON.parse(this.#native.progress()) as ProgressStep;
  }

  async export(options: ExportOptions): Promise<ExportReport> {
    return JSON.parse(await rethrowAsConvoyError(this.#native.export(JSON.stringify(options)))) as ExportReport;
  }

  async import(options: ImportOptions): Promise<ImportReport> {
    const running = await rethrowAsConvoyError(this.#native.import(JSON.stringify(options)));
    // One batch is written while the next one is validated.
    let writing: Promise<void> = Promise.resolve();
    for (;;) {
      const text = await rethrowAsConvoyError(running.next());
      const verdict = text === null ? null : this.#validate(text);
      await writing;
      if (verdict === null) break;
      writing = rethrowAsConvoyError(running.write(verdict));
      // It is awaited only after the next batch has been read, which may fail first.
      writing.catch(() => {});
    }
    return JSON.parse(await rethrowAsConvoyError(running.end())) as ImportReport;
  }

  #validate(text: string): string {
    const { batch, table, documents } = parseJson(text) as {
      readonly batch: number;
      readonly table: string;
      readonly documents: readonly unknown[];
    };
    const rejected: [number, string][] = [];
    for (const [position, document] of documents.entries()) {
      const problems = [...problemsOf(this.#table(table), document)];
      if (problems.length === 0) continue;
      const reasons = problems.map(([path, message]) => (path === '' ? message : `${path}: ${message}`));
      rejected.push([position, reasons.join('; ')]);
    }
    return JSON.stringify({ batch, rejected });
  }

  /** Compares the documents of a table with its schema: all, or a sample if there are more than `SAMPLE_SIZE`. */
  async checkDocuments(name: string, options: { readonly all: boolean }): Promise<CheckedTable> {
    const table = this.#table(name);
    const scan = await rethrowAsConvoyError(this.#native.scan(name, options.all ? undefined : SAMPLE_SIZE));
    const findings = new Findings(table);
    let withoutDefaults = 0;
    for (;;) {
      const text = await rethrowAsConvoyError(scan.next());
      if (text === null) break;
      for (const [uuid, data] of parseJson(text) as [string, unknown][]) {
        // Numbers that no double equals are reported by `createConvoy` only.
        findings.add(formatId(name, uuid), data, null);
        if (table.fill !== null && lacksDefaults(table.fill, data)) withoutDefaults += 1;
      }
    }
    return { table: name, isWhole: scan.isWhole, withoutDefaults, ...findings.checked };
  }

  async drift(): Promise<Drift> {
    return JSON.parse(await rethrowAsConvoyError(this.#native.drift())) as Drift;
  }

  async diagnose(): Promise<Diagnosis> {
    return JSON.parse(await rethrowAsConvoyError(this.#native.diagnose())) as Diagnosis;
  }

  async close(): Promise<void> {
    await this.#native.close();
  }

  #table(name: string): Table {
    const table = this.#tables.get(name);
    if (table === undefined) throw new Error(`The schema has no table ${name}.`);
    return table;
  }
}

function lacksDefaults(fill: (value: unknown) => void, data: unknown): boolean {
  const filled: unknown = structuredClone(data);
  fill(filled);
  return JSON.stringify(filled) !== JSON.stringify(data);
}
