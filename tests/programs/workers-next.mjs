/** The next version of workers.mjs, which answers otherwise. */
import { query } from '@avvos/convoy';
import * as before from './workers.mjs';

export default {
  schema: before.schema,
  functions: { ...before.functions, list: query({ handler: () => ['of the next version'] }) },
};
