// The function of the echo workload as a separate program.
import { defineSchema, query } from '@avvos/convoy';
import { echoInput } from './inputs.mjs';

export const schema = defineSchema({});
export const functions = { echo: query({ input: echoInput, handler: async (_ctx, args) => args }) };
