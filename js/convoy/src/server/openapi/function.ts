/**
 * The function that makes the document of `/api/openapi.json`. An internal query added to every program, so it runs where
 * the code is loaded; the engine calls it at the first request, and keeps the result until the next load.
 */

import * as z from 'zod';
import { type AnyConvoyFunction, internalQuery } from '../functions.js';
import type { FunctionDescription } from '../native.js';
import type { NamedFunction } from '../program.js';
import { type DocumentOptions, openApiDocument } from './document.js';

/** The name by which the engine knows the function. No user function can have it, since it has a colon and spaces. */
export const OPENAPI_NAME = 'convoy: OpenAPI document';

export const OPENAPI_DESCRIPTION: FunctionDescription = {
  name: OPENAPI_NAME,
  kind: 'query',
  internal: true,
  share: false,
  transaction: true,
};

/** Creates the function for a program with these functions, routes and security schemes. */
export function openApiFunction(
  functions: readonly NamedFunction[],
  program: Pick<DocumentOptions, 'routes' | 'hasContext' | 'securitySchemes'>,
): AnyConvoyFunction {
  return internalQuery({
    input: z.object({
      basePath: z.string(),
      // JSON leaves out what an application states as undefined.
      options: z.object({
        title: z.string().default('Convoy'),
        version: z.string().default('0.0.0'),
        servers: z.array(z.string()).default([]),
      }),
    }),
    handler: (_ctx, { basePath, options }) => openApiDocument(functions, { ...program, ...options, basePath }),
  }) as AnyConvoyFunction;
}
