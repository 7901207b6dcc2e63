/**
 * Generates `dataModel.ts`: the types of documents, one interface per table, so that the compiler computes each one
 * once and displays its name.
 */
import { header } from './header.js';
import { asKey, Identifiers, pascalCase, quote } from './names.js';
import type { Project, ProjectTable } from './project.js';

interface NamedTable extends ProjectTable {
  readonly document: string;
  readonly input: string;
}

const ownNames = ['DataModel', 'Doc', 'Id', 'TableName', 'Tables', 'IdOf', 'IndexesOf', 'InferTableInput'];

export function dataModelFile({ schema, tables }: Project): string {
  const names = new Identifiers([...ownNames, 'InferTableRow', 'schema']);
  const named = tables.map((table): NamedTable => {
    const stem = pascalCase(table.name);
    return { ...table, document: names.allocate(`${stem}Document`), input: names.allocate(`${stem}Input`) };
  });
  const clause = schema.exportName === 'default' ? 'schema' : '{ schema }';
  const helpers = tables.length > 0 ? ['IndexesOf', 'InferTableInput', 'InferTableRow'] : [];
  return [
    header,
    `import type { ${['Id as IdOf', ...helpers].join(', ')} } from '@avvos/convoy';`,
    ...(tables.length > 0 ? [`import type ${clause} from ${quote(schema.module)};`, ''] : ['']),
    ...(tables.length > 0 ? ["type Tables = (typeof schema)['tables'];", ''] : []),
    ...named.flatMap(tableTypes),
    '/** The types of every table. */',
    'export interface DataModel {',
    ...named.map(
      ({ name, document, input }) =>
        `  ${asKey(name)}: { document: ${document}; input: ${input}; indexes: IndexesOf<Tables[${quote(name)}]> };`,
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

function tableTypes({ name, isUnion, document, input }: NamedTable): string[] {
  const documentType = `InferTableRow<Tables[${quote(name)}], ${quote(name)}>`;
  const inputType = `InferTableInput<Tables[${quote(name)}]>`;
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
