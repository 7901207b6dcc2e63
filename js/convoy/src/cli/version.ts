/** The version of this package. */
import { createRequire } from 'node:module';

/** Found from this folder, and from the bundle that tests make of the program. */
export const { version } = createRequire(import.meta.url)('../../package.json') as { readonly version: string };
