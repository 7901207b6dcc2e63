/** What identifies a caller, in the parts of the OpenAPI document that say so. */

import type { JsonSchema } from './schemas.js';
import type { SecuritySchemes } from './security-schemes.js';

/** Members of the document and its parts. */
export interface DocumentSecurity {
  /** Of the document itself: callers may be signed in. */
  readonly ofDocument: JsonSchema;
  /** Of the operation of a function that needs a signed-in caller. */
  readonly ofSignedIn: JsonSchema;
  /** Of the components. */
  readonly components: JsonSchema;
}

/** What is assumed of a context about which nothing is stated. */
const BEARER: SecuritySchemes = { bearer: { type: 'http', scheme: 'bearer' } };

/** The members for these schemes, each of which identifies a caller by itself. */
export function securityOf({
  securitySchemes,
  hasContext,
}: {
  readonly securitySchemes?: SecuritySchemes | undefined;
  readonly hasContext: boolean;
}): DocumentSecurity {
  const schemes = securitySchemes ?? (hasContext ? BEARER : {});
  const accepted = Object.keys(schemes).map((name) => ({ [name]: [] }));
  if (accepted.length === 0) return { ofDocument: {}, ofSignedIn: {}, components: {} };
  return {
    ofDocument: { security: [{}, ...accepted] },
    // An assumption must not refuse anyone: the callers may have cookies.
    ofSignedIn: securitySchemes === undefined ? {} : { security: accepted },
    components: { securitySchemes: schemes },
  };
}
