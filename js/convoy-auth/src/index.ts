/**
 * `@avvos/convoy-auth`: adapters for `createContext` that verify tokens, sessions and API keys. Runs in Node.
 *
 * @packageDocumentation
 */
export {
  type AuthAdapter,
  type AuthAdapterDefinition,
  type AuthContext,
  compose,
  defineAdapter,
  type UserOf,
} from './adapter.js';
export {
  type AnonymousAdapter,
  type AnonymousOptions,
  anonymous,
  type GuestToken,
  type GuestUser,
} from './anonymous.js';
export {
  type ApiKeysOptions,
  apiKeys,
  type CreatedApiKey,
  createApiKey,
  type FoundApiKey,
  hashApiKey,
} from './api-keys.js';
export {
  type BetterAuthInstance,
  type BetterAuthOptions,
  type BetterAuthSession,
  type BetterAuthUser,
  betterAuth,
} from './better-auth.js';
export { betterAuthSecuritySchemes } from './better-auth-schemes.js';
export type { Claims, JwtUser } from './jwt/claims.js';
export { type JwtOptions, jwt } from './jwt/jwt.js';
export type { TokenOptions } from './jwt/settings.js';
export type { PlainData } from './plain-data.js';
export { type Auth0Options, type Auth0User, auth0 } from './presets/auth0.js';
export { type ClerkOptions, type ClerkUser, clerk } from './presets/clerk.js';
export { type FirebaseOptions, type FirebaseUser, firebase } from './presets/firebase.js';
export { type OidcOptions, type OidcUser, oidc } from './presets/oidc.js';
export type { PresetOptions } from './presets/options.js';
export { type SupabaseOptions, type SupabaseUser, supabase } from './presets/supabase.js';
export { type WorkosOptions, type WorkosUser, workos } from './presets/workos.js';
export { mergeSecuritySchemes } from './security-schemes.js';
