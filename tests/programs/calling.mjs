/** Calls a mutation and a query again and again, in a thread of its own, and counts the answers in shared memory. */
import { workerData } from 'node:worker_threads';

const { baseUrl, answers } = workerData;
for (let n = 0; ; n++) {
  const [path, args] = n % 2 === 0 ? ['mutation/add', { text: `${n}` }] : ['query/any', {}];
  const response = await fetch(`${baseUrl}/api/${path}`, { method: 'POST', body: JSON.stringify(args) });
  const { ok } = await response.json();
  if (ok) Atomics.add(answers, 0, 1);
}
