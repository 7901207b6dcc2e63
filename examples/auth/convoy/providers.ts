/** The OAuth provider of the environment: any that describes itself with OpenID Connect Discovery. */
const { OAUTH_ISSUER, OAUTH_NAME, OAUTH_CLIENT_ID, OAUTH_CLIENT_SECRET } = process.env;

export const providers = OAUTH_ISSUER
  ? [
      {
        providerId: 'oidc',
        name: OAUTH_NAME ?? new URL(OAUTH_ISSUER).hostname,
        discoveryUrl: `${OAUTH_ISSUER.replace(/\/$/, '')}/.well-known/openid-configuration`,
        clientId: OAUTH_CLIENT_ID ?? '',
        clientSecret: OAUTH_CLIENT_SECRET ?? '',
        scopes: ['openid', 'profile', 'email'],
        requireIdTokenVerification: true,
      },
    ]
  : [];
