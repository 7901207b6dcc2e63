import { expect, test } from 'vitest';
import { sendingProblem } from './json.js';
import { resultProblem } from './server-json.js';
import { storageProblem } from './storable-json.js';

class TableScan {}

test('a query that was not ended, and a stored date, come with what to do instead', () => {
  expect(resultProblem([new TableScan()])?.reason).toMatch(/TableScan.*end the query with collect\(\), take\(n\)/);
  expect(storageProblem({ at: new Date() })?.reason).toMatch(/Date.*store a number \(date\.getTime\(\)\)/);
});

test('the advice for clients is that of servers, too', () => {
  for (const value of [new Map(), new Set(), Promise.resolve(), new (class Other {})()])
    expect(resultProblem(value)).toEqual(sendingProblem(value));
});
