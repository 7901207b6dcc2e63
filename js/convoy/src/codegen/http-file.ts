/**
 * Generates `http.ts`: a start file for deployments that run one, as those of 0.0.1 do. Its implementation is in the
 * package.
 */
import { arrangeFunctions, type FunctionFolder, FunctionLeaf } from './function-tree.js';
import { header } from './header.js';
import { memberOf, moduleNames } from './modules.js';
import { asKey, quote } from './names.js';
import type { Project, ProjectFunction } from './project.js';

const ownNames = [
  'createConvoyServer',
  'defineStartFile',
  'program',
  'routes',
  'schema',
  'server',
  'serverExports',
  'startConvoyServer',
];

export function httpFile(project: Project): string {
  const { schema, functions, serverModule, routesModule } = project;
  const modules = moduleNames(functions, ownNames);
  const imports: [string, string][] = [
    ...[...modules].map(([module, name]): [string, string] => [name, module]),
    ['schema', schema.module],
    ...(serverModule ? [['server', serverModule] as [string, string]] : []),
    ...(routesModule ? [['routes', routesModule] as [string, string]] : []),
  ];
  return [
    header,
    `import { defineStartFile${serverModule ? ', serverExports' : ''} } from '@avvos/convoy/node';`,
    '',
    '/** Starts the server when run as a program, and not when imported. Workers import the functions from this file. */',
    'export const { createConvoyServer, program, startConvoyServer } = defineStartFile(import.meta.url, async () => {',
    ...imports.map(([name, module]) => `  const ${name} = await import(${quote(module)});`),
    '  return {',
    `    schema: schema.${schema.exportName},`,
    // What it exports when it runs: without its `rls`, for example, no policy would apply.
    ...(serverModule ? ['    ...serverExports(server),'] : []),
    ...(routesModule ? ['    routes,'] : []),
    `    functions: ${functionsText(arrangeFunctions(functions), modules, '    ')},`,
    '  };',
    '});',
    '',
  ].join('\n');
}

/** The functions as an object literal; `modules` has the identifier of each module. */
export function functionsText(
  folder: FunctionFolder<ProjectFunction>,
  modules: ReadonlyMap<string, string>,
  indent: string,
): string {
  const inner = `${indent}  `;
  const lines = Object.entries(folder).map(([segment, node]) => {
    const value = node instanceof FunctionLeaf ? memberOf(node.value, modules) : functionsText(node, modules, inner);
    return `${inner}${asKey(segment)}: ${value},\n`;
  });
  return lines.length === 0 ? '{}' : `{\n${lines.join('')}${indent}}`;
}
