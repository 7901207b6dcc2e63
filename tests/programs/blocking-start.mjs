/** A start file of blocking.mjs, as `convoy/_generated/http.ts` is one: its functions are imported where they run. */
import { defineStartFile } from '@avvos/convoy/node';

export const { createConvoyServer, program, startConvoyServer } = defineStartFile(
  import.meta.url,
  () => import('./blocking.mjs'),
);
