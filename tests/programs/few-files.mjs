/** A server that may open few files: sends its port over IPC, and ends when the channel is closed. */
import { defineSchema, mutation, query } from '@avvos/convoy';
import { createConvoy } from '@avvos/convoy/node';

const functions = { tell: query({ handler: () => 'told' }), keep: mutation({ handler: () => 'kept' }) };
const limits = JSON.parse(process.env.LIMITS);
const databaseUrl = process.env.DATABASE_URL;
const convoy = await createConvoy({ schema: defineSchema({}), functions, databaseUrl, createDatabase: true, limits });
const { port } = await convoy.listen({ port: 0 });
process.on('disconnect', () => void convoy.close());
process.send({ port });
