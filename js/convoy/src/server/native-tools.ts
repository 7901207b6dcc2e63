/** The part of the addon that moves and checks all documents of a database, without a running engine. */
import { loadNative } from './native.js';

/** The addon. */
export interface NativeToolsModule {
  /** Connects to a database and changes nothing: `{databaseUrl,schema}`. Rejects like `NativeModule.open`. */
  openTools(options: string): Promise<NativeTools>;
}

/** A database opened for commands. Options and reports are JSON. */
export interface NativeTools {
  /** The current `ProgressStep`. */
  progress(): string;
  /** Takes `ExportOptions`; resolves to an `ExportReport`. */
  export(options: string): Promise<string>;
  /** Takes `ImportOptions`. */
  import(options: string): Promise<NativeImport>;
  /** Reads the documents of a table: all, or about `sample` of them if it has more. */
  scan(table: string, sample?: number): Promise<NativeScan>;
  /** Resolves to a `Drift`. */
  drift(): Promise<string>;
  /** Resolves to a `Diagnosis`. */
  diagnose(): Promise<string>;
  close(): Promise<void>;
}

/** A running import. */
export interface NativeImport {
  /** Resolves to `{batch,table,documents}`, or `null` at the end. Reads ahead by two batches at most. */
  next(): Promise<string | null>;
  /** Writes a batch, except the documents at the positions in `{batch,rejected:[[position,reason],…]}`. */
  write(verdict: string): Promise<void>;
  /** Resolves to an `ImportReport`. */
  end(): Promise<string>;
}

/** A running read of a table. */
export interface NativeScan {
  /** False for a sample. */
  readonly isWhole: boolean;
  /** Resolves to `[[uuid,data],…]`, or `null` at the end. */
  next(): Promise<string | null>;
}

/** Loads the addon. */
export function loadNativeTools(): NativeToolsModule {
  // One binary contains both parts.
  return loadNative() as unknown as NativeToolsModule;
}
