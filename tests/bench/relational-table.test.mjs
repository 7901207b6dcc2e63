import { expect, it } from 'vitest';
import { describeRows, evaluate } from './relational-table.mjs';

const run = (perSecond) => ({
  perSecond,
  latency: { p50: 1_000, p99: 9_000 },
  serverCpu: 100,
  postgresCpu: null,
  functionRuns: null,
});
const contestant = (title, tables, speeds) => ({ title, tables, errors: {}, runs: speeds.map(run) });
const convoy = contestant('Convoy', 'jsonb', [100, 200, 300]);

it('takes the ratio to a peer in the same rounds, not of the medians', () => {
  const peer = contestant('peer', 'relational', [200, 100, 100]);
  const { better } = evaluate({ title: 'a row', goal: 3 }, [convoy, peer]);
  // Of 0.5, 2 and 3. The ratio of the medians is 2 as well, of the means 1.5.
  expect(better.ratio).toEqual({ median: 2, low: 0.5, high: 3, pairs: 3 });
});

it('compares with the better of the relational peers, and not with a JSONB one', () => {
  const peers = [
    contestant('slower', 'relational', [10, 10, 10]),
    contestant('better', 'relational', [50, 100, 150]),
    contestant('JSONB', 'jsonb', [500, 500, 500]),
  ];
  const row = evaluate({ title: 'a row', goal: 2 }, [convoy, ...peers]);
  expect(row.better.title).toBe('better');
  expect(describeRows([row])).toContain('2.00× [2.00, 2.00] |  ≥ 2 | met |');
});

it('compares with all contestants where no table is used', () => {
  const peers = [contestant('a', 'jsonb', [100, 200, 300]), contestant('b', 'jsonb', [50, 50, 50])];
  const row = evaluate({ title: 'echo', goal: 2 }, [convoy, ...peers]);
  expect(row.better.title).toBe('a');
  expect(describeRows([row])).toContain('≥ 2 | not met |');
});
