/** The next version of workers.mjs, with a different result. */
import { query } from '@avvos/convoy';
import * as before from './workers.mjs';

export default {
  schema: before.schema,
  functions: { ...before.functions, list: query({ handler: () => ['of the next version'] }) },
};
