/**
 * Optimistic updates in Chromium, over a connection that is slow and delivers requests and responses in any order: no
 * state that the page renders takes back what the user has done.
 */
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import {
  type BaseContext,
  ConvoyError,
  createFunctionHelpers,
  type DataModelOf,
  defineSchema,
  defineTable,
} from '@avvos/convoy';
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { freshDatabaseUrl } from './app.js';
import { launchChromium } from './chromium.js';
import type { OptimisticPage, Rendered } from './optimistic-page.js';
import { PageServer } from './page-server.js';

/** The time limit only turns a hang into a failure. */
const PATIENT = { timeout: 30_000 };

const NAMES = ['a', 'b', 'c', 'd', 'e'];
const CLICKS = 50;

const schema = defineSchema({ switches: defineTable({ name: z.string(), on: z.boolean(), touched: z.number() }) });
const { query, mutation } = createFunctionHelpers<BaseContext<DataModelOf<typeof schema>>>();
const functions = {
  switches: {
    list: query({ handler: (ctx) => ctx.db.query('switches').collect() }),
    create: mutation({
      input: { name: z.string() },
      handler: (ctx, { name }) => ctx.db.insert('switches', { name, on: false, touched: 0 }),
    }),
    toggle: mutation({
      input: { id: z.string(), fail: z.boolean() },
      handler: async (ctx, { id, fail }) => {
        const one = await ctx.db.get(id as never);
        if (one === null) throw new ConvoyError('NOT_FOUND', 'This switch is gone.');
        await ctx.db.patch(id as never, { on: !(one as { on: boolean }).on } as never);
        if (fail) throw new ConvoyError('CONFLICT', 'This switch is stuck.');
        return null;
      },
    }),
    /** Changes the list without a switch: another client. */
    touch: mutation({
      handler: async (ctx) => {
        const one = await ctx.db.query('switches').first();
        if (one !== null) await ctx.db.patch(one.id, { touched: one.touched + 1 });
      },
    }),
  },
};

let convoy: Convoy;
let browser: Browser;
let page: Page;
const closing: (() => Promise<unknown>)[] = [];
let pages: PageServer;

const call = (name: string, args: unknown = {}) => convoy.mutation({ kind: 'mutation', name } as never, args as never);

beforeAll(async () => {
  browser = await launchChromium();
});
afterAll(() => browser.close());
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

interface Setting {
  readonly slowMs?: number;
  readonly query?: string;
  readonly failpoints?: readonly string[];
}

/** Serves the switches and opens the page. */
async function open({ slowMs = 0, query = '', failpoints = [] }: Setting = {}): Promise<void> {
  const options = { databaseUrl: freshDatabaseUrl(), createDatabase: true, schema, functions, failpoints };
  convoy = await createConvoy(options);
  closing.push(() => convoy.close());
  const { port } = await convoy.listen({ port: 0 });
  for (const name of [...NAMES, 'stuck']) await call('switches.create', { name });
  pages = await PageServer.start(join(import.meta.dirname, 'optimistic-page.ts'), port);
  pages.slowMs = slowMs;
  closing.push(() => pages.close());
  page = await browser.newPage();
  closing.push(() => page.close());
  await page.goto(`${pages.url}${query}`);
  await page.getByText('stuck: ').waitFor();
}

/** The switches as the page shows them now. */
const shown = () => page.locator('#all').innerText();

/** Clicks the switches in turn within a second, while another client changes the list; returns every rendered state. */
async function clickThrough(meanwhile: () => Promise<void> = async () => {}): Promise<Rendered[]> {
  let done = false;
  const other = (async () => {
    while (!done) {
      await call('switches.touch');
      await pause(5);
    }
  })();
  const clicks = page.evaluate(
    async ([names, count]) => {
      const { page } = window as unknown as { page: OptimisticPage };
      for (let n = 0; n < count; n++) {
        page.click(names[n % names.length] as string);
        if (n === count / 2) page.click('stuck', { fail: true });
        await new Promise((resolve) => setTimeout(resolve, 1_000 / count));
      }
      await page.done();
      return page.rendered;
    },
    [NAMES, CLICKS] as const,
  );
  await meanwhile();
  const rendered = await clicks;
  done = true;
  await other;
  return rendered;
}

/** The rendered states in which a switch is not as the user has left it, in words. */
function revertedStates(before: Rendered, rendered: readonly Rendered[]): string[] {
  return rendered.flatMap(({ clicks, shown }, at) =>
    NAMES.filter((name) => shown[name] !== (before.shown[name] !== ((clicks[name] ?? 0) % 2 === 1))).map(
      (name) => `state ${at}: ${name} after ${clicks[name] ?? 0} clicks is ${shown[name]}`,
    ),
  );
}

/** The different states of one switch, in order. */
function statesOf(name: string, rendered: readonly Rendered[]): (boolean | undefined)[] {
  return rendered.map(({ shown }) => shown[name]).filter((one, at, all) => at === 0 || one !== all[at - 1]);
}

test.each([
  ['fast', 0],
  ['slow', 80],
])(
  'fifty clicks in a second over a %s connection show no reverted state, and a failing one takes back only its own effect',
  async (_speed, slowMs) => {
    await open({ slowMs });
    const rendered = await clickThrough();
    expect(revertedStates(rendered[0] as Rendered, rendered)).toEqual([]);
    expect(statesOf('stuck', rendered)).toEqual([false, true, false]);
    expect(await page.evaluate(() => (window as unknown as { page: OptimisticPage }).page.failures)).toEqual([
      'This switch is stuck.',
    ]);
    const stored = (await convoy.query({ kind: 'query', name: 'switches.list' } as never, {} as never)) as unknown as {
      name: string;
      on: boolean;
    }[];
    const last = rendered.at(-1)?.shown;
    expect(Object.fromEntries(stored.map(({ name, on }) => [name, on]))).toEqual(last);
    expect(rendered.length).toBeGreaterThan(CLICKS);
  },
);

test('nor where all connections are cut several times meanwhile, with responses on their way', async () => {
  await open({ slowMs: 60 });
  const rendered = await clickThrough(async () => {
    for (let n = 0; n < 5; n++) {
      await pause(200);
      pages.cut();
    }
  });
  expect(revertedStates(rendered[0] as Rendered, rendered)).toEqual([]);
  expect(statesOf('stuck', rendered)).toEqual([false, true, false]);
  pages.slowMs = 0;
  await expect.poll(shown, PATIENT).toContain('stuck: off');
});

test('control: an update that ends one frame early shows reverted states', async () => {
  await open({ slowMs: 20, query: '?settlingEarly' });
  const rendered = await clickThrough();
  expect(revertedStates(rendered[0] as Rendered, rendered)).not.toEqual([]);
});

test('control: results with the changes of a mutation before its report show reverted states', async () => {
  let reverted: string[] = [];
  for (let round = 0; round < 10 && reverted.length === 0; round++) {
    await open({ failpoints: ['noWithholding'] });
    const rendered = await clickThrough();
    reverted = revertedStates(rendered[0] as Rendered, rendered);
  }
  expect(reverted).not.toEqual([]);
});
