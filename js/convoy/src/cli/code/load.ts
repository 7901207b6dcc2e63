/** Imports a bundle and extracts the parts of a program: the schema, functions by name, and what `server.ts` exports. */
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { asImport, type ProjectFunction, segmentsOf } from '../../codegen/index.js';
import { isSchemaDefinition, type SchemaDefinition } from '../../schema/index.js';
import type { CreateContext } from '../../server/contexts.js';
import { type AnyConvoyFunction, isConvoyFunction } from '../../server/functions.js';
import { checkedSchemes, type SecuritySchemes } from '../../server/openapi/security-schemes.js';
import type { RouteModule } from '../../server/routes.js';
import { checkedRowLevelSecurity, type RowLevelSecurity } from '../../server/row-security/row-level-security.js';
import { serverProblem } from '../../server/server-exports.js';
import type { ProjectLayout } from '../options.js';
import type { Bundle } from './bundle.js';
import { asPosix, type ProjectFiles } from './files.js';
import { CodeProblem } from './problem.js';
import { diagnosticsOf } from './source-location.js';

export interface LoadedFunction extends ProjectFunction {
  readonly definition: AnyConvoyFunction;
}

export interface LoadedCode {
  readonly schema: SchemaDefinition;
  readonly schemaExport: 'default' | 'schema';
  /** The tables that the schema's module exports → the names of the exports. */
  readonly tableExports: ReadonlyMap<unknown, string>;
  readonly functions: readonly LoadedFunction[];
  readonly createContext: CreateContext | undefined;
  /** `rls` of `server.ts`; `undefined` without it. */
  readonly rls: RowLevelSecurity | undefined;
  /** The exports of `http.ts`; `undefined` without that file. */
  readonly routes: RouteModule | undefined;
  /** Those that `server.ts` exports, checked. */
  readonly securitySchemes: SecuritySchemes | undefined;
  /** `server.ts` exports `configureServer`, which 0.0.1 called. */
  readonly configuresServer: boolean;
}

type Module = Readonly<Record<string, unknown>>;

/** Node caches a module whose evaluation failed forever; another URL evaluates it again. */
let attempts = 0;

/** Loads the bundle. Throws a CodeProblem for errors thrown while the user's modules are evaluated. */
export async function loadBundle(bundle: Bundle, files: ProjectFiles, layout: ProjectLayout): Promise<LoadedCode> {
  const modules = await importBundle(bundle, layout);
  const functions = files.functions.flatMap((file, index) =>
    functionsIn(modules[`functions${index}`] ?? {}, file, layout),
  );
  checkServer(modules.server ?? {}, layout);
  return {
    ...schemaIn(modules.schema ?? {}, layout),
    functions,
    rls: rowLevelSecurityIn(modules.server ?? {}, layout),
    routes: modules.http,
    securitySchemes: schemesIn(modules.server ?? {}, layout),
    createContext: modules.server?.createContext as CreateContext | undefined,
    configuresServer: modules.server?.configureServer !== undefined,
  };
}

async function importBundle(bundle: Bundle, { root }: ProjectLayout): Promise<Record<string, Module>> {
  const url = pathToFileURL(bundle.file);
  if (attempts > 0) url.search = String(attempts);
  try {
    return (await import(url.href)) as Record<string, Module>;
  } catch (error) {
    attempts += 1;
    throw new CodeProblem(diagnosticsOf(error, bundle, root), { cause: error });
  }
}

type LoadedSchema = Pick<LoadedCode, 'schema' | 'schemaExport' | 'tableExports'>;

function schemaIn(module: Module, { root, schemaFile }: ProjectLayout): LoadedSchema {
  for (const schemaExport of ['default', 'schema'] as const) {
    const schema = module[schemaExport];
    if (isSchemaDefinition(schema)) return { schema, schemaExport, tableExports: tableExportsIn(module, schema) };
  }
  const file = path.relative(root, schemaFile);
  const text = `${file} exports no schema; write \`export default defineSchema({ … })\``;
  throw new CodeProblem([{ text, location: null }]);
}

/** Of several exports of a table, only the one with its name counts: an alias may have a wider type. */
function tableExportsIn(module: Module, { tables }: SchemaDefinition): Map<unknown, string> {
  const exports = new Map<unknown, string>();
  for (const [name, table] of Object.entries(tables)) {
    const names = Object.keys(module).filter((each) => module[each] === table);
    const exportName = names.length === 1 ? names[0] : names.find((each) => each === name);
    if (exportName !== undefined) exports.set(table, exportName);
  }
  return exports;
}

function checkServer(module: Module, { root, serverFile }: ProjectLayout): void {
  const text = serverProblem(module, asPosix(path.relative(root, serverFile)));
  if (text !== null) throw new CodeProblem([{ text, location: null }]);
}

function schemesIn(module: Module, { root, serverFile }: ProjectLayout): SecuritySchemes | undefined {
  try {
    return checkedSchemes(module.securitySchemes, `\`securitySchemes\` of ${path.relative(root, serverFile)}`);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new CodeProblem([{ text: error.message, location: null }], { cause: error });
  }
}

function rowLevelSecurityIn({ rls }: Module, { root, serverFile }: ProjectLayout): RowLevelSecurity | undefined {
  try {
    return checkedRowLevelSecurity(rls) ?? undefined;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    const text = `${path.relative(root, serverFile)}: ${error.message}`;
    throw new CodeProblem([{ text, location: null }], { cause: error });
  }
}

function functionsIn(module: Module, file: string, layout: ProjectLayout): LoadedFunction[] {
  const below = asPosix(path.relative(layout.functionsFolder, file));
  const segments = segmentsOf(below);
  return Object.entries(module).flatMap(([exportName, definition]): LoadedFunction[] => {
    if (!isConvoyFunction(definition)) return [];
    const name = [...segments, exportName].join('.');
    const dotted = [...segments, exportName].find((segment) => segment.includes('.'));
    if (dotted !== undefined) {
      const text = `The function ${exportName} in functions/${below} cannot be called: "${dotted}" has a dot in it. Rename it.`;
      throw new CodeProblem([{ text, location: null }]);
    }
    const from = asImport(asPosix(path.relative(layout.generatedFolder, file)));
    const { kind, internal } = definition;
    const options = definition.persist ? {} : { persist: false as const };
    return [{ name, kind, internal, ...options, module: from, exportName, definition }];
  });
}
