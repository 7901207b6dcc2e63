/**
 * Generates `dataModel.ts`: the types of documents, one interface per table, so that the compiler computes each one
 * once and displays its name.
 *
 * A table that the schema's module exports is typed by that export, so that the compiler infers this table alone. The
 * type of any other table is a part of the schema's, for which the compiler infers every table.
 */
import { header } from './header.js';
import { asKey, Identifiers, pascalCase, quote } from './names.js';
import type { Project, ProjectTable } from './project.js';

interface NamedTable {
  readonly name: string;
  readonly isUnion: boolean;
  readonly document: string;
  readonly input: string;
  /** The type of its definition. */
  readonly definition: string;
}

const ownNames = ['DataModel', 'Doc', 'Id', 'TableName', 'Tables', 'IdOf', 'IndexesOf', 'InferTableInput'];

export function dataModelFile({ schema, tables }: Project): string {
  const names = new Identifiers([...ownNames, 'InferTableRow', 'schema', 'schemaModule']);
  const named = tables.map((table): NamedTable => {
    const stem = pascalCase(table.name);
    const document = names.allocate(`${stem}Document`);
    return { ...table, document, input: names.allocate(`${stem}Input`), definition: definitionOf(table) };
  });
  const helpers = tables.length > 0 ? ['IndexesOf', 'InferTableInput', 'InferTableRow'] : [];
  return [
    header,
    `import type { ${['Id as IdOf', ...helpers].join(', ')} } from '@avvos/convoy';`,
    ...schemaImports(schema, tables),
    '',
    ...named.flatMap(tableTypes),
    '/** The types of every table. */',
    'export interface DataModel {',
    ...named.map(
      ({ name, document, input, definition }) =>
        `  ${asKey(name)}: { document: ${document}; input: ${input}; indexes: IndexesOf<${definition}> };`,
    ),
    '}',
    '',
    '/** The name of a table. */',
    'export type TableName = keyof DataModel;',
    '',
    '/** A document of a table, as reads return it. */',
    "export type Doc<T extends TableName> = DataModel[T]['document'];",
    '',
    '/** The id of a document of a table. */',
    'export type Id<T extends TableName> = IdOf<T>;',
    '',
  ].join('\n');
}

function schemaImports({ module, exportName }: Project['schema'], tables: readonly ProjectTable[]): string[] {
  const exported = tables.filter(isExported);
  const lines: string[] = [];
  if (exported.length < tables.length) {
    lines.push(`import type ${exportName === 'default' ? 'schema' : '{ schema }'} from ${quote(module)};`);
  }
  if (exported.length > 0) lines.push(`import type * as schemaModule from ${quote(module)};`);
  if (exported.length < tables.length) lines.push('', "type Tables = (typeof schema)['tables'];");
  return lines;
}

function definitionOf(table: ProjectTable): string {
  return isExported(table) ? `typeof schemaModule.${table.exportName}` : `Tables[${quote(table.name)}]`;
}

/** Whether an export can be named in a type; one with a name such as `'a-b'` cannot. */
function isExported({ exportName }: ProjectTable): boolean {
  return exportName !== undefined && asKey(exportName) === exportName;
}

function tableTypes({ name, isUnion, document, input, definition }: NamedTable): string[] {
  const documentType = `InferTableRow<${definition}, ${quote(name)}>`;
  const inputType = `InferTableInput<${definition}>`;
  const declare = (as: string, type: string) =>
    isUnion ? `export type ${as} = ${type};` : `export interface ${as} extends ${type} {}`;
  return [
    `/** A document of \`${name}\`, as reads return it. */`,
    declare(document, documentType),
    '',
    `/** The input of an insert into \`${name}\`. */`,
    declare(input, inputType),
    '',
  ];
}
