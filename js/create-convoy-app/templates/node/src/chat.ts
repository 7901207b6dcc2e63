/** A chat in the terminal: prints new messages as they arrive, and sends each line that is typed. */
import { userInfo } from 'node:os';
import { createInterface } from 'node:readline';
import { createConvoyClient } from '@avvos/convoy/client';
import { api } from '../convoy/_generated/api';

const client = createConvoyClient({ baseUrl: process.env.CONVOY_URL ?? 'http://127.0.0.1:3000' });
const author = process.argv[2] ?? userInfo().username;
const printed = new Set<string>();

client.watch(api.messages.list, {}, ({ status, data, error }) => {
  if (status === 'error') console.error(`${error.code}: ${error.message}`);
  if (status !== 'success') return;
  for (const message of data.toReversed()) {
    if (printed.has(message.id)) continue;
    printed.add(message.id);
    console.log(`${message.author}: ${message.body}`);
  }
});

const lines = createInterface({ input: process.stdin });
lines.on('line', async (body) => {
  try {
    await client.mutation(api.messages.send, { author, body });
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
  }
});
lines.on('close', () => client.close());
