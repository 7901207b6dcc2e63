import { route } from './_generated/server';
import { authFor } from './auth';

/** Sign-up, sign-in, passkeys and the callbacks of OAuth. */
export const auth = route.all('/api/auth/*path', (ctx, request) => authFor(ctx).handler(request));
