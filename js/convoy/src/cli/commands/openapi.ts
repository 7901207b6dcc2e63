/** `convoy openapi`: prints the OpenAPI document of the public functions, without a database and without the engine. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { openApiDocument } from '../../server/openapi/document.js';
import { checkedSchemes } from '../../server/openapi/security-schemes.js';
import { listFunctions } from '../../server/program.js';
import { importProgram } from '../../server/program-module.js';
import { listRoutes } from '../../server/routes.js';
import { applicationIn } from '../application.js';
import { runnableCode } from '../code/runnable.js';
import { count } from '../count.js';
import { loadEnvFiles } from '../env-files.js';
import { type BuiltCodeFlags, layoutOf } from '../options.js';
import { printToStandardError, progressTerminal, quietTerminal, ReportedFailure, reportFailure } from '../result.js';
import type { Terminal } from '../terminal.js';

export interface OpenApiFlags extends BuiltCodeFlags {
  /** The file to write, in place of standard output. */
  readonly out?: string;
  readonly title?: string;
  /** The version of the application. */
  readonly appVersion?: string;
  /** URLs. */
  readonly server?: readonly string[];
}

export async function runOpenApi(flags: OpenApiFlags, cwd = process.cwd()): Promise<void> {
  const terminal = progressTerminal(flags);
  try {
    await writeDocument(flags, terminal, cwd);
  } catch (error) {
    // Standard output is for the document.
    reportFailure(error, terminal);
    throw new ReportedFailure();
  }
}

async function writeDocument(flags: OpenApiFlags, terminal: Terminal, cwd: string): Promise<void> {
  const layout = layoutOf(flags, cwd);
  loadEnvFiles(layout.root, cwd);
  const { program, config } = await runnableCode(flags, layout, quietTerminal(terminal));
  // Modules may print when they are loaded.
  printToStandardError();
  const { functions, createContext, routes, securitySchemes } = await importProgram(pathToFileURL(program).href);
  const application = await applicationIn(layout.root);
  const given = typeof config.openapi === 'object' ? config.openapi : {};
  const document = openApiDocument(listFunctions(functions), {
    title: flags.title ?? given.title ?? application.name,
    version: flags.appVersion ?? given.version ?? application.version,
    servers: flags.server ?? given.servers ?? [],
    basePath: config.basePath ?? '/api',
    routes: listRoutes(routes),
    hasContext: createContext !== undefined,
    securitySchemes: checkedSchemes(securitySchemes),
  });
  const text = `${JSON.stringify(document, null, 2)}\n`;
  if (flags.out === undefined) {
    // The process exits after this, and a pipe may still have to be written.
    await new Promise<void>((resolve) => process.stdout.write(text, () => resolve()));
    return;
  }
  const file = path.resolve(cwd, flags.out);
  await writeFile(file, text);
  const operations = Object.values(document.paths).flatMap((methods) => Object.keys(methods as object));
  terminal.done(`Wrote ${path.relative(cwd, file)} (${count(operations.length, 'operation')})`);
}
