// The same Convoy program with a context: the user is in a header, and no function reads
// it.
import { start as startConvoy } from './convoy.mjs';

/** @param {string} databaseUrl */
export function start(databaseUrl) {
  return startConvoy(databaseUrl, {
    createContext: (request, base) => ({ ...base, user: request.headers['x-user'] ?? 'nobody' }),
  });
}
