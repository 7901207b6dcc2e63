/**
 * `@avvos/convoy`: the API to define a schema and functions. Runs in browsers.
 *
 * @packageDocumentation
 */
export {
  type AccessRules,
  type DataModelOf,
  defineRef,
  defineSchema,
  defineTable,
  type FieldPath,
  type GivenTables,
  type IndexesOf,
  type IndexOptions,
  type InferTableInput,
  type InferTableRow,
  type NewRow,
  type RefType,
  type SchemaDefinition,
  SchemaError,
  type SchemaProblem,
  type SystemFields,
  type TableDefinition,
  type TableInput,
  type TablesOf,
  type TableTypes,
} from './schema/index.js';
export {
  type Auth,
  type AuthUser,
  createAuth,
  type Identity,
  type SignedInAuth,
  type SignedInContext,
} from './server/auth.js';
export { type BaseContextParts, createBaseContext } from './server/base-context.js';
export { type CachedReader, cachedReads } from './server/cached-reads.js';
export type {
  BaseContext,
  CalleeOf,
  ConvoyContext,
  ConvoyRequest,
  CreateContext,
  MutationContext,
  QueryContext,
  RunFunction,
} from './server/contexts.js';
export type {
  Condition,
  Database,
  DatabaseReader,
  DbFromSchema,
  FieldReference,
  FilterBuilder,
  Page,
  PageOptions,
  RangeBuilder,
  RawOptions,
  TableQuery,
} from './server/database.js';
export type { ActionLimits, MutationLimits, QueryLimits, RateLimit } from './server/function-limits.js';
export {
  type ActionBuilder,
  action,
  authed,
  type ConvoyFunction,
  type ConvoyFunctionDefinition,
  createFunctionHelpers,
  type FunctionBuilders,
  type FunctionHelpers,
  type FunctionKind,
  internalAction,
  internalMutation,
  internalQuery,
  type MutationBuilder,
  mutation,
  type QueryBuilder,
  query,
  route,
} from './server/functions.js';
export type {
  ApiKeyScheme,
  HttpScheme,
  MutualTlsScheme,
  OAuth2Scheme,
  OAuthFlow,
  OpenIdConnectScheme,
  SecurityScheme,
  SecuritySchemeBase,
  SecuritySchemes,
} from './server/openapi/security-schemes.js';
export { paginationOpts } from './server/pagination-opts.js';
export { createDb } from './server/removed.js';
export type {
  ConvoyRoute,
  RouteBuilder,
  RouteBuilders,
  RouteHandler,
  RouteOptions,
  RouteParams,
} from './server/routes.js';
export type { RowLevelSecurity, RowSettings } from './server/row-security/row-level-security.js';
export {
  ConvoyError,
  type ConvoyErrorCode,
  type ConvoyErrorOptions,
  type ConvoyErrorPayload,
  convoyError,
  errorPayloadFrom,
  type Id,
  idOf,
  isConvoyError,
  statusForCode,
} from './values/index.js';
