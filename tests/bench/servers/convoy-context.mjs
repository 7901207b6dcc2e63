// The same Convoy program with a context: who asks is in a header, and no function
// of it looks.
import { start as startConvoy } from './convoy.mjs';

/** @param {string} databaseUrl */
export function start(databaseUrl) {
  return startConvoy(databaseUrl, {
    createContext: (request, base) => ({ ...base, user: request.headers['x-user'] ?? 'nobody' }),
  });
}
