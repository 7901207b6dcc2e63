/** Which results of queries answer later calls, and which do not. */
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freshDatabaseUrl } from './app.js';

const program = new URL('./programs/impure.mjs', import.meta.url);
const { functions } = (await import(program.href)) as { functions: Record<'kept' | 'impure', object> };

let convoy: Convoy;
let baseUrl: string;
beforeAll(async () => {
  convoy = await createConvoy({ program, databaseUrl: freshDatabaseUrl(), createDatabase: true });
  const { port } = await convoy.listen({ port: 0 });
  baseUrl = `http://127.0.0.1:${port}`;
});
afterAll(() => convoy.close());

const runs = () => convoy.stats().handlerRuns ?? 0;

async function call(path: string, args: object = {}): Promise<unknown> {
  const request = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(args) };
  const response = await fetch(`${baseUrl}/api/${path}`, request);
  const body = (await response.json()) as { data: unknown };
  if (!response.ok) throw new Error(JSON.stringify(body));
  return body.data;
}

/** Calls a query until that takes no run. */
async function untilKept(name: string): Promise<unknown> {
  for (;;) {
    const before = runs();
    const data = await call(`query/${name}`);
    if (runs() === before) return data;
  }
}

test.each(Object.keys(functions.kept))('kept.%s answers later calls, until a write', async (name) => {
  const first = await untilKept(`kept.${name}`);
  await call('mutation/add', { text: name });
  const second = await untilKept(`kept.${name}`);
  if (name === 'nothing') expect(second).toBe(first);
  else expect(JSON.stringify(second)).toContain(`"${name}"`);
});

test.each(Object.keys(functions.impure))('impure.%s runs at each call', async (name) => {
  for (let time = 0; time < 6; time++) {
    const before = runs();
    await call(`query/impure.${name}`);
    expect(runs(), `call ${time}`).toBeGreaterThan(before);
  }
});
