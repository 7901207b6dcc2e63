/**
 * The OpenAPI 3.1 document of a program: one operation for each public function, with its arguments, its result and the
 * errors of the API, and one for each HTTP route. Internal functions are never in it. Pure.
 */

import { type ConvoyErrorCode, STATUS_OF } from '../../values/errors.js';
import type { FunctionKind } from '../functions.js';
import type { NamedFunction } from '../program.js';
import type { NamedRoute } from '../routes.js';
import { ROUTES_TAG, routePaths } from './routes.js';
import { componentName, DocumentSchemas, type JsonSchema } from './schemas.js';
import { type DocumentSecurity, securityOf } from './security.js';
import type { SecuritySchemes } from './security-schemes.js';

export interface DocumentOptions {
  /** The name of the application. */
  readonly title: string;
  /** The version of the application. */
  readonly version: string;
  /** The URLs of the servers, without the base path. */
  readonly servers?: readonly string[];
  /** Where the paths begin (`/api`). */
  readonly basePath?: string;
  /** The HTTP routes. */
  readonly routes?: readonly NamedRoute[];
  /** Functions get a context from the request, so a bearer token may identify the caller. */
  readonly hasContext: boolean;
  /** What identifies a caller, if the application states it. */
  readonly securitySchemes?: SecuritySchemes | undefined;
}

/** An OpenAPI document, as JSON. */
export interface OpenApiDocument extends JsonSchema {
  /** Path → methods. */
  readonly paths: JsonSchema;
}

/** Creates the document. Throws where two schemas have the same `id`. */
export function openApiDocument(functions: readonly NamedFunction[], options: DocumentOptions): OpenApiDocument {
  const { title, version, servers = [], basePath = '/api', routes = [] } = options;
  const security = securityOf(options);
  const schemas = new DocumentSchemas();
  schemas.add(ERROR, errorSchema());
  const listed = functions.filter(({ definition }) => !definition.internal);
  return {
    openapi: '3.1.1',
    info: { title, version },
    ...(servers.length === 0 ? {} : { servers: servers.map((url) => ({ url })) }),
    ...security.ofDocument,
    tags: [...new Set([...listed.map(tagOf), ...routes.map(() => ROUTES_TAG)])].sort().map((name) => ({ name })),
    paths: { ...functionPaths(listed, basePath, { schemas, security }), ...routePaths(routes) },
    components: {
      schemas: schemas.components,
      responses: Object.fromEntries(CODES.map((code) => [code, errorResponse(code)])),
      ...security.components,
    },
  };
}

/** What operations refer to. */
interface Parts {
  readonly schemas: DocumentSchemas;
  readonly security: DocumentSecurity;
}

/** Path → methods of the functions. */
function functionPaths(listed: readonly NamedFunction[], basePath: string, parts: Parts): JsonSchema {
  const paths = listed.map((each) => [
    `${basePath}/${each.definition.kind}/${each.name}`,
    named(each, () => {
      const post = operation(each, parts);
      return each.definition.http === 'GET' ? { get: readOperation(post), post } : { post };
    }),
  ]);
  return Object.fromEntries(paths);
}

/** Errors begin with the name of the function. */
function named<T>({ name }: NamedFunction, create: () => T): T {
  try {
    return create();
  } catch (error) {
    throw new TypeError(`${name}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

/** The component of errors. */
const ERROR = 'convoy.Error';

function tagOf({ name }: NamedFunction): string {
  return name.includes('.') ? name.slice(0, name.lastIndexOf('.')) : 'index';
}

interface Operation extends JsonSchema {
  readonly operationId: string;
  readonly requestBody: { readonly required: boolean; readonly content: JsonSchema };
  readonly responses: JsonSchema;
}

/** The same operation by GET: the arguments are a parameter. */
function readOperation({ requestBody: { required, content }, responses, ...post }: Operation): JsonSchema {
  const { 200: result, ...others } = responses;
  return {
    ...post,
    // No name of a function has a colon.
    operationId: `${post.operationId}:get`,
    parameters: [{ name: 'args', in: 'query', required, description: 'The arguments, as JSON.', content }],
    responses: {
      200: { ...(result as JsonSchema), headers: { ETag: { description: 'Names the result.', schema: TEXT } } },
      304: { description: 'The result that If-None-Match names is current.' },
      ...others,
    },
  };
}

const TEXT = { type: 'string' } as const;

function operation(listed: NamedFunction, { schemas, security }: Parts): Operation {
  const { name, definition } = listed;
  const { kind, input, returns, transaction, authed } = definition;
  const owner = componentName(name);
  const args = schemas.convert(input, 'input', `${owner}.input`);
  const data = returns === undefined ? {} : schemas.convert(returns, 'output', `${owner}.output`);
  return {
    operationId: name,
    tags: [tagOf(listed)],
    ...describedBy(args),
    ...(authed ? security.ofSignedIn : {}),
    ...(kind === 'mutation' && transaction ? { parameters: [IDEMPOTENCY_KEY] } : {}),
    requestBody: { required: needsBody(args), content: json(args) },
    responses: {
      200: {
        description: RESULT_OF[kind],
        content: json({ type: 'object', properties: { ok: { const: true }, data }, required: ['ok', 'data'] }),
      },
      ...Object.fromEntries(
        CODES.filter((code) => code !== 'CONFLICT' || kind !== 'query').map((code) => [
          STATUS_OF[code],
          { $ref: `#/components/responses/${code}` },
        ]),
      ),
      default: { description: 'Your code chose another status.', content: json(ERROR_REFERENCE) },
    },
  };
}

const RESULT_OF: Readonly<Record<FunctionKind, string>> = {
  query: 'The result.',
  mutation: 'The result, after the commit.',
  action: 'The result, when the action has ended.',
};

/** The title and the description of the arguments are those of the operation. */
function describedBy({ title, description }: JsonSchema): JsonSchema {
  return { ...(title === undefined ? {} : { summary: title }), ...(description === undefined ? {} : { description }) };
}

/** An empty body is `{}`, which fits an object without required members; of other schemas that is not known here. */
function needsBody({ type, required }: JsonSchema): boolean {
  return type !== 'object' || (Array.isArray(required) && required.length > 0);
}

const IDEMPOTENCY_KEY = {
  name: 'Idempotency-Key',
  in: 'header',
  description: 'Chosen by the caller. Calls with the same key take effect once.',
  schema: { type: 'string', pattern: '^[\\x20-\\x7e]{1,128}$' },
} as const;

/** What a call to an operation of the document can fail with. */
const CODES = (Object.keys(STATUS_OF) as ConvoyErrorCode[]).filter((code) => code !== 'METHOD_NOT_ALLOWED');

const ERROR_REFERENCE = { $ref: `#/components/schemas/${ERROR}` } as const;

const MEANING_OF: Readonly<Record<ConvoyErrorCode, string>> = {
  INVALID_ARGS: 'The arguments, or a document, do not fit their schema; `details.issues` says where.',
  UNAUTHORIZED: 'The caller is not authenticated.',
  FORBIDDEN: 'The caller lacks permission, or the request comes from a page of another origin.',
  NOT_FOUND: 'There is no such function, or your code has not found what was asked for.',
  METHOD_NOT_ALLOWED: 'The path exists, but not for this method.',
  CONFLICT: 'Another write stands in the way, or a key was used again with another body.',
  PAYLOAD_TOO_LARGE: 'A limit of size was exceeded.',
  RATE_LIMITED: 'The caller sends too many requests.',
  INTERNAL: 'A defect of the server; `errorId` names its cause in the log.',
  UNAVAILABLE: 'Temporary: the server or its database cannot be reached, or is overloaded.',
  TIMEOUT: 'A limit of time was exceeded.',
};

function errorResponse(code: ConvoyErrorCode): JsonSchema {
  return { description: MEANING_OF[code], content: json(ERROR_REFERENCE) };
}

function json(schema: JsonSchema): JsonSchema {
  return { 'application/json': { schema } };
}

function errorSchema(): JsonSchema {
  const error = {
    type: 'object',
    properties: {
      code: { type: 'string', enum: Object.keys(STATUS_OF) },
      message: { type: 'string' },
      details: {},
      errorId: { type: 'string' },
    },
    required: ['code', 'message'],
  };
  return { type: 'object', properties: { ok: { const: false }, error }, required: ['ok', 'error'] };
}
