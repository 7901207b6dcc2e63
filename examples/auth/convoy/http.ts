import { route } from './_generated/server';
import { ADDRESS_HEADER, authFor } from './auth';

/** Sign-up, sign-in, passkeys and the callbacks of OAuth. */
export const auth = route.all('/api/auth/*path', (ctx, request) => {
  // Clients can send any header, so the address is the one that Convoy knows.
  request.headers.set(ADDRESS_HEADER, ctx.ip ?? '');
  return authFor(ctx).handler(request);
});
