/** A start file, like `convoy/_generated/http.ts`. */
import { defineStartFile } from '@avvos/convoy/node';
import * as source from './workers.mjs';

export const { createConvoyServer, program, startConvoyServer } = defineStartFile(import.meta.url, source);
