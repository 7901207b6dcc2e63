/** Describes loaded code as plain data. */
import { defOf, describeSchema } from '../../schema/index.js';
import type { InspectedCode } from './inspect.js';
import type { LoadedCode } from './load.js';

export function describeCode({
  schema,
  schemaExport,
  tableExports,
  functions,
  createContext,
  routes,
  configuresServer,
}: LoadedCode): InspectedCode {
  return {
    schemaExport,
    schema: describeSchema(schema),
    tables: Object.entries(schema.tables).map(([name, table]) => ({
      name,
      isUnion: defOf(table.schema).type === 'union',
      exportName: tableExports.get(table),
    })),
    functions: functions.map(({ definition: _, ...described }) => described),
    hasContext: createContext !== undefined,
    hasRoutes: routes !== undefined,
    configuresServer,
  };
}
