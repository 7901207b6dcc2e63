/** Defines tables with Zod, checks the schema, and derives its description and types. Runs in browsers. */
export type { AccessRules, AnyAccessRules, NewRow, RuleName } from './access.js';
export type { Comparable, Condition, FieldReference, FilterBuilder } from './condition.js';
export { compileDefaults, type Filler } from './defaults.js';
export {
  describeSchema,
  type IndexDescription,
  type SchemaDescription,
  type TableDescription,
} from './describe.js';
export { type FieldKind, fieldKind, fieldNames, isSystemField, MAX_FIELD_DEPTH, objectsAt } from './fields.js';
export type { DataModelOf, FieldsOf, IndexesOf, TableTypes, TableTypesOf } from './model.js';
export {
  callerInput,
  isZodAsyncError,
  type ParseSubject,
  parseMaybeAsync,
  parseOrThrow,
  refuseDroppedKeys,
  type ValueIssue,
} from './parse.js';
export type { FieldPath, FieldValue } from './paths.js';
export { printable, SchemaError, type SchemaProblem } from './problems.js';
export { defineRef, type RefType, refTarget } from './refs.js';
export {
  defineSchema,
  type GivenTables,
  isSchemaDefinition,
  type SchemaDefinition,
  type SchemaTables,
  type TablesOf,
} from './schema.js';
export type { SchemaShape, ShapeInput, ShapeOutput, TypedSchema } from './shape-types.js';
export { strippedKeys } from './stripped.js';
export {
  defineTable,
  type IndexOptions,
  type InferTableInput,
  type InferTableRow,
  isTableDefinition,
  type SystemFields,
  type SystemIndexes,
  TableDefinition,
  type TableIndexes,
  type TableInput,
} from './table.js';
export { defOf, type InputOf, isZodType, type OutputOf, type ZodType } from './zod.js';
