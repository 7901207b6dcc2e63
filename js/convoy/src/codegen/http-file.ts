/** `http.ts`: a start file for deployments that run one, as those of 0.0.1 do. What it does is in the package. */
import { arrangeFunctions, type FunctionFolder, FunctionLeaf } from './function-tree.js';
import { header } from './header.js';
import { memberOf, moduleNames } from './modules.js';
import { asKey, quote } from './names.js';
import type { Project, ProjectFunction } from './project.js';

const ownNames = ['createConvoyServer', 'createContext', 'defineStartFile', 'program', 'schema', 'startConvoyServer'];

export function httpFile({ schema, functions, contextModule }: Project): string {
  const modules = moduleNames(functions, ownNames);
  const clause = schema.exportName === 'default' ? 'schema' : '{ schema }';
  return [
    header,
    "import { defineStartFile } from '@avvos/convoy/node';",
    ...[...modules].map(([module, name]) => `import * as ${name} from ${quote(module)};`),
    `import ${clause} from ${quote(schema.module)};`,
    ...(contextModule ? [`import { createContext } from ${quote(contextModule)};`] : []),
    '',
    '/** Run as a program, this file starts the server; imported, it starts nothing. */',
    'export const { createConvoyServer, program, startConvoyServer } = defineStartFile(import.meta.url, {',
    '  schema,',
    ...(contextModule ? ['  createContext,'] : []),
    `  functions: ${valuesOf(arrangeFunctions(functions), modules, '  ')},`,
    '});',
    '',
  ].join('\n');
}

function valuesOf(
  folder: FunctionFolder<ProjectFunction>,
  modules: ReadonlyMap<string, string>,
  indent: string,
): string {
  const inner = `${indent}  `;
  const lines = Object.entries(folder).map(([segment, node]) => {
    const value = node instanceof FunctionLeaf ? memberOf(node.value, modules) : valuesOf(node, modules, inner);
    return `${inner}${asKey(segment)}: ${value},\n`;
  });
  return lines.length === 0 ? '{}' : `{\n${lines.join('')}${indent}}`;
}
