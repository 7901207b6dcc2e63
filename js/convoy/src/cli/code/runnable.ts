/**
 * The code that a command runs: the built code that `--build` names, or the sources of the project. Without sources, as
 * on a server that has only the built folder, the built code is used without the flag.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { ConvoyConfig } from '../../server/config.js';
import type { FunctionKind } from '../../server/functions.js';
import type { PrometheusOptions, TelemetryOptions } from '../../server/telemetry/telemetry-options.js';
import { prepareStateFolder } from '../dev/database.js';
import type { BuiltCodeFlags, ProjectLayout } from '../options.js';
import type { Terminal } from '../terminal.js';
import { compileProject } from './compile.js';
import { findConfig, importConfig, loadConfig } from './config-file.js';
import { expectProject } from './files.js';
import { CONFIG_FILE, PROGRAM_FILE, readManifest } from './manifest.js';

/** The folder of built code, relative to the root. */
export const DEFAULT_BUILD_FOLDER = 'convoy-build';

export interface RunnableCode {
  /** The module that exports the program. */
  readonly program: string;
  readonly functions: readonly { readonly name: string; readonly kind: FunctionKind; readonly internal: boolean }[];
  readonly tableCount: number;
  /** The description of the schema, for the engine. */
  readonly schema: unknown;
  readonly config: ConvoyConfig;
  /** The folder of built code; `null` for sources. */
  readonly builtIn: string | null;
  /** Generated files that were written. */
  readonly written: readonly string[];
}

/** Compiles the project, or reads its built code. */
export async function runnableCode(
  flags: BuiltCodeFlags,
  layout: ProjectLayout,
  terminal: Terminal,
): Promise<RunnableCode> {
  if (flags.build === undefined && existsSync(layout.schemaFile)) {
    await prepareStateFolder(layout);
    return terminal.step('Compiling', async (step) => {
      const config = await loadConfig(layout);
      const { program, code, tableCount, written } = await compileProject(layout);
      step.result(`Compiled ${code.functions.length} functions`);
      const { functions, schema } = code;
      return { program, functions, tableCount, schema, config, builtIn: null, written };
    });
  }
  return builtCode(flags, layout);
}

/** Reads built code, without the sources. */
export async function builtCode(flags: BuiltCodeFlags, layout: ProjectLayout): Promise<RunnableCode> {
  const folder = await buildFolderOf(flags.build, layout);
  if (!existsSync(folder)) expectProject(layout);
  const { functions, tables, schema } = await readManifest(folder);
  const configFile = path.join(folder, CONFIG_FILE);
  const config = existsSync(configFile) ? await importConfig(configFile, configFile) : {};
  const program = path.join(folder, PROGRAM_FILE);
  return { program, functions, tableCount: tables.length, schema, config, builtIn: folder, written: [] };
}

async function buildFolderOf(flag: string | undefined, layout: ProjectLayout): Promise<string> {
  if (flag !== undefined) return path.resolve(layout.root, flag);
  const folder = path.join(layout.root, DEFAULT_BUILD_FOLDER);
  if (existsSync(folder) || findConfig(layout) === null) return folder;
  const { build } = await loadConfig(layout);
  return build?.outDir === undefined ? folder : path.resolve(layout.root, build.outDir);
}

/** The settings of the engine in a configuration, without `static`, which only `convoy start` serves. */
export function engineOptionsOf({
  build: _build,
  static: _static,
  ...options
}: ConvoyConfig): Omit<ConvoyConfig, 'build' | 'static'> {
  return options;
}

/** The setting `telemetry`, with the address of a flag in place of its own. */
export function withPrometheus(
  telemetry: TelemetryOptions | undefined,
  prometheus: PrometheusOptions | undefined,
): { readonly telemetry?: TelemetryOptions } {
  return prometheus === undefined ? {} : { telemetry: { ...telemetry, prometheus } };
}
