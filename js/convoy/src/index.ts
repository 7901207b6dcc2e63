/** `@avvos/convoy`: the words a schema and its functions are written in. Runs in browsers. */
export {
  type DataModelOf,
  defineRef,
  defineSchema,
  defineTable,
  type FieldPath,
  type IndexesOf,
  type IndexOptions,
  type InferTableInput,
  type InferTableRow,
  type RefType,
  type SchemaDefinition,
  SchemaError,
  type SchemaProblem,
  type SystemFields,
  type TableDefinition,
  type TableInput,
  type TableTypes,
} from './schema/index.js';
export type {
  BaseContext,
  ConvoyContext,
  ConvoyRequest,
  CreateContext,
  QueryContext,
} from './server/contexts.js';
export type {
  Database,
  DatabaseReader,
  DbFromSchema,
  RangeBuilder,
  TableQuery,
} from './server/database.js';
export {
  type ConvoyFunction,
  type ConvoyFunctionDefinition,
  createFunctionHelpers,
  type FunctionHelpers,
  type MutationBuilder,
  mutation,
  type QueryBuilder,
  query,
} from './server/functions.js';
export {
  ConvoyError,
  type ConvoyErrorCode,
  type ConvoyErrorOptions,
  type ConvoyErrorPayload,
  convoyError,
  errorPayloadFrom,
  type Id,
  isConvoyError,
  statusForCode,
} from './values/index.js';
