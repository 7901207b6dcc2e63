/** A start file for blocking.mjs, like `convoy/_generated/http.ts`: its functions are imported where they run. */
import { defineStartFile } from '@avvos/convoy/node';

export const { createConvoyServer, program, startConvoyServer } = defineStartFile(
  import.meta.url,
  () => import('./blocking.mjs'),
);
