/**
 * Generates `api.ts`: references to every function, for clients and for other functions.
 *
 * Its types are declared, one `RefFor` per leaf, and never inferred from a value: the compiler resolves a leaf only
 * when it is used, so functions may refer to `api` and `api` to them. At run time it imports only `/client`, so it
 * works in browsers.
 */
import { arrangeFunctions, type FunctionFolder, FunctionLeaf } from './function-tree.js';
import { header } from './header.js';
import { memberOf, moduleNames } from './modules.js';
import { asKey, quote } from './names.js';
import type { Project, ProjectFunction } from './project.js';

const makers = { query: 'makeQueryRef', mutation: 'makeMutationRef', action: 'makeActionRef' } as const;

const ownNames = ['Api', 'Internal', 'RefFor', 'api', 'internal', ...Object.values(makers)];

export function apiFile({ functions }: Pick<Project, 'functions'>): string {
  const modules = moduleNames(functions, ownNames);
  const publicTree = arrangeFunctions(functions.filter((each) => !each.internal));
  const internalTree = arrangeFunctions(functions.filter((each) => each.internal));
  return [
    header,
    ...importsOf(functions),
    ...[...modules].map(([module, name]) => `import type * as ${name} from ${quote(module)};`),
    ...(functions.length > 0 ? [''] : []),
    '/** References to the functions that clients may call. */',
    `export interface Api ${typesOf(publicTree, modules)}`,
    '',
    '/** References to the functions that only other functions may call. */',
    `export interface Internal ${typesOf(internalTree, modules)}`,
    '',
    `export const api: Api = ${valuesOf(publicTree)};`,
    '',
    `export const internal: Internal = ${valuesOf(internalTree)};`,
    '',
  ].join('\n');
}

function importsOf(functions: readonly ProjectFunction[]): string[] {
  if (functions.length === 0) return [];
  const used = [...new Set(functions.map(({ kind }) => makers[kind]))].sort();
  return [`import { ${[...used, 'type RefFor'].join(', ')} } from '@avvos/convoy/client';`];
}

function typesOf(folder: FunctionFolder<ProjectFunction>, modules: ReadonlyMap<string, string>, indent = ''): string {
  return block(folder, indent, (key, node, inner) => {
    if (!(node instanceof FunctionLeaf)) return `readonly ${key}: ${typesOf(node, modules, inner)};`;
    const member = memberOf(node.value, modules);
    const type = member.includes('[') ? `(typeof ${member.replace('[', ')[')}` : `typeof ${member}`;
    return `readonly ${key}: RefFor<${quote(node.value.name)}, ${type}>;`;
  });
}

function valuesOf(folder: FunctionFolder<ProjectFunction>, indent = ''): string {
  return block(folder, indent, (key, node, inner) =>
    node instanceof FunctionLeaf
      ? `${key}: ${makers[node.value.kind]}(${quote(node.value.name)}${optionsOf(node.value)}),`
      : `${key}: ${valuesOf(node, inner)},`,
  );
}

function optionsOf({ persist }: ProjectFunction): string {
  return persist === false ? ', { persist: false }' : '';
}

type Node = FunctionFolder<ProjectFunction> | FunctionLeaf<ProjectFunction>;

function block(
  folder: FunctionFolder<ProjectFunction>,
  indent: string,
  line: (key: string, node: Node, indent: string) => string,
): string {
  const inner = `${indent}  `;
  const lines = Object.entries(folder).map(([segment, node]) => `${inner}${line(asKey(segment), node, inner)}\n`);
  return lines.length === 0 ? '{}' : `{\n${lines.join('')}${indent}}`;
}
