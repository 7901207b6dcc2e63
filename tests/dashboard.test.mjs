/** The dashboard for Grafana: Prometheus has data for each query of it, from a server under load. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { createConvoyClient, makeActionRef, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { createConvoy } from '@avvos/convoy/node';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { findPrometheus } from '../scripts/prometheus.mjs';
import { freshDatabaseUrl } from './app.js';
import { freePort } from './free-port.js';

const file = new URL('../deploy/grafana/convoy.json', import.meta.url);
const { panels } = JSON.parse(await readFile(file, 'utf8'));
const queries = panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr })));

const program = new URL('./programs/events.mjs', import.meta.url);
const list = makeQueryRef('list');
const any = makeQueryRef('any');
const exit = makeQueryRef('exit');
const add = makeMutationRef('add');
const increment = makeMutationRef('increment');
const refuse = makeActionRef('refuse');

const prometheus = await findPrometheus();

test('each panel has a query, and an unknown variable in none', () => {
  expect(queries.length).toBeGreaterThan(20);
  for (const { type, title, targets = [] } of panels) {
    expect(title).not.toBe('');
    expect(targets.length > 0).toBe(type !== 'row');
  }
  for (const { expr } of queries) expect(resolved(expr)).not.toContain('$');
});

describe.skipIf(prometheus === undefined)('Prometheus', () => {
  /** @type {import('@avvos/convoy/node').Convoy} */
  let convoy;
  /** @type {import('node:child_process').ChildProcess} */
  let server;
  let folder;
  let url;
  let load;

  beforeEach(async () => {
    const port = await freePort();
    convoy = await createConvoy({
      program,
      workers: 2,
      databaseUrl: freshDatabaseUrl(),
      createDatabase: true,
      telemetry: { prometheus: port },
    });
    const { port: served } = await convoy.listen({ port: 0 });
    load = startLoad(`http://127.0.0.1:${served}`);
    folder = await mkdtemp(path.join(tmpdir(), 'convoy-prometheus-'));
    const config = path.join(folder, 'prometheus.yml');
    const target = `[{ job_name: convoy, static_configs: [{ targets: ['127.0.0.1:${port}'] }] }]`;
    await writeFile(config, `{ global: { scrape_interval: 1s }, scrape_configs: ${target} }\n`);
    const own = `127.0.0.1:${await freePort()}`;
    url = `http://${own}`;
    const flags = { 'config.file': config, 'storage.tsdb.path': path.join(folder, 'data'), 'web.listen-address': own };
    const args = Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
    server = spawn(prometheus ?? '', args, { stdio: 'ignore' });
  });

  afterEach(async () => {
    const exited = once(server, 'exit');
    server.kill();
    await exited;
    await load.stop();
    await convoy.close();
    await rm(folder, { recursive: true });
  });

  test('has data for each query', { timeout: 90_000 }, async () => {
    const missing = new Map(queries.map((query) => [query.expr, query.title]));
    const end = Date.now() + 60_000;
    // A rate needs two scrapes.
    while (missing.size > 0 && Date.now() < end) {
      await nextScrape(url);
      for (const expr of missing.keys()) if (await hasData(url, expr)) missing.delete(expr);
    }
    expect(Object.fromEntries(missing)).toEqual({});
  });
});

/** A query as Grafana sends it. */
function resolved(expr) {
  return expr.replaceAll('$__rate_interval', '10s').replaceAll('$job', '.*').replaceAll('$instance', '.*');
}

async function hasData(url, expr) {
  const body = new URLSearchParams({ query: resolved(expr) });
  const answer = await (await fetch(`${url}/api/v1/query`, { method: 'POST', body })).json();
  expect(answer).toMatchObject({ status: 'success' });
  return answer.data.result.some(({ value }) => Number.isFinite(Number(value[1])));
}

/** Resolves after another scrape of the server. */
async function nextScrape(url) {
  const before = await lastScrape(url);
  while ((await lastScrape(url)) === before) await pause(100);
}

/** When the server was last scraped; empty before Prometheus answers. */
async function lastScrape(url) {
  const answer = await fetch(`${url}/api/v1/targets`).catch(() => null);
  if (answer?.ok !== true) return '';
  const { data } = await answer.json();
  return data.activeTargets[0]?.lastScrape ?? '';
}

/** Calls of each kind and outcome, conflicts, lost workers and live queries, until it is stopped. */
function startLoad(baseUrl) {
  const client = createConvoyClient({ baseUrl });
  // Every write affects both; the answer of the second stays equal.
  client.watch(list, {}, () => {});
  client.watch(any, {}, () => {});
  let isStopped = false;
  const ignore = () => null;
  const run = async () => {
    for (let round = 0; !isStopped; round++) {
      await client.mutation(add, { text: `${round}` }).catch(ignore);
      await Promise.all(
        Array.from({ length: 4 }, () => client.mutation(increment, {}, { parallel: true }).catch(ignore)),
      );
      await client.query(list, {}).catch(ignore);
      await client.action(refuse, { secret: 's' }).catch(ignore);
      if (round % 50 === 10) await client.query(exit, {}).catch(ignore);
      await pause(20);
    }
  };
  const running = run();
  return {
    stop: async () => {
      isStopped = true;
      await running;
      client.close();
    },
  };
}
