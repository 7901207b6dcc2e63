/**
 * Random operations by random users, by every kind of function, compared with a model of the rules. Controls: with any one
 * method of `ctx.db` without rules, the comparison fails.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type AccessApp, openAccessApp } from './access/app.js';
import { AccessModel } from './access/model.js';
import { METHODS, Walk } from './access/walk.js';
import { LONG, Random } from './model/random.js';
import { withSeeds } from './model/seeds.js';

const STEPS = LONG ? 20_000 : 1_500;
/** More than the model has needed to notice any control. */
const CONTROL_STEPS = 3_000;

let app: AccessApp;
beforeAll(async () => {
  app = await openAccessApp();
});
afterAll(() => app.close());

test('every operation has the result and the effect that the rules allow', { timeout: 1_200_000 }, async () => {
  await withSeeds('access-model', async (seed) => {
    const walk = await new Walk(app, new AccessModel(), new Random(seed)).begin();
    for (let step = 0; step < STEPS; step++) expect(await walk.step()).toBeNull();
  });
});

test.each(METHODS)('control: %s without rules is detected', { timeout: 120_000 }, async (method) => {
  const walk = await new Walk(app, new AccessModel(), new Random(7), method).begin();
  for (let step = 0; step < CONTROL_STEPS; step++) if ((await walk.step()) !== null) return;
  expect.unreachable('the model has not noticed it');
});
