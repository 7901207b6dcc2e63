/** Row-level security within transactions and over shared connections: the role and the settings hold for each operation. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { StepResult } from './access/app.js';
import type { Step } from './access/program.js';
import { openRowSecurityApp, type RowSecurityApp } from './row-security/app.js';

let app: RowSecurityApp;
beforeAll(async () => {
  // So few that calls of clients and of the system follow each other on each.
  app = await openRowSecurityApp({ poolSize: 2 });
  // `raw` itself takes no SET.
  await app.psql.query("create function run(text) returns void language plpgsql as 'begin execute $1; end'");
});
afterAll(() => app.close());

let eve: string;
let mine: string;
let other: string;
beforeEach(async () => {
  eve = `eve-${randomUUID()}`;
  const insert = async (owner: string) =>
    (await app.trusted({ do: 'insert', args: ['tasks', { owner, rank: 1 }] })).ok as string;
  [mine, other] = [await insert(eve), await insert('ada')];
});

const raw = (text: string, ...values: (string | null)[]): Step => ({ do: 'raw', args: [{ text, values }] });
const get = (id: string): Step => ({ do: 'get', args: [id] });
const patch = (id: string, rank: number): Step => ({ do: 'patch', args: [id, { rank }] });
const asSystem = (step: Step): Step => ({ ...step, system: true });
const rolledBack = (...steps: Step[]): Step => ({ do: 'rolledBack', args: steps });
const collect: Step = { do: 'collect', args: [], query: [['query', 'tasks']] };

const NAMES = ['readAll', 'writeAll', 'actAll'] as const;
const WRITING = ['writeAll', 'actAll'] as const;
const NONE = { ok: null };

describe('the role holds', () => {
  it.each(NAMES)('after operations of the system, in %s', async (name) => {
    const steps = [get(other), asSystem(get(other)), get(other), asSystem(collect), collect];
    const [hidden, shown, again, all, own] = (await app.all(eve, name, steps)) as StepResult[];
    expect([hidden, again]).toEqual([NONE, NONE]);
    expect(shown).toMatchObject({ ok: { id: other } });
    expect(all?.ok.length).toBeGreaterThan(1);
    expect(own).toMatchObject({ ok: [{ id: mine }] });
  });

  it('for each operation of one batch', async () => {
    const steps = Array.from({ length: 20 }, (_, at) => (at % 3 === 0 ? asSystem(get(other)) : get(other)));
    const found = await app.all(eve, 'readBatch', steps);
    expect(found.map(({ ok }) => ok?.id ?? null)).toEqual(steps.map(({ system }) => (system ? other : null)));
  });

  it.each(WRITING)('after a savepoint was rolled back, in %s', async (name) => {
    const results = await app.all(eve, name, [
      get(mine),
      rolledBack(asSystem(patch(other, 5)), get(other), patch(mine, 5), get(mine)),
      get(other),
      patch(other, 6),
      rolledBack(patch(mine, 7), asSystem(get(other))),
      get(other),
      asSystem(get(other)),
      rolledBack(rolledBack(asSystem(patch(other, 8))), get(other)),
      patch(mine, 9),
      collect,
    ]);
    expect(results).toMatchObject([
      { ok: { rank: 1 } },
      [{ ok: { rank: 5 } }, NONE, { ok: { rank: 5 } }, { ok: { rank: 5 } }],
      NONE,
      NONE,
      [{ ok: { rank: 7 } }, { ok: { id: other, rank: 1 } }],
      NONE,
      { ok: { rank: 1 } },
      [[{ ok: { rank: 8 } }], NONE],
      { ok: { rank: 9 } },
      { ok: [{ id: mine, rank: 9 }] },
    ]);
    expect(await app.trusted(get(other))).toMatchObject({ ok: { rank: 1 } });
  });

  it.each(WRITING)('after a write that a policy has refused was rolled back, in %s', async (name) => {
    const refused: Step = { do: 'insert', args: ['tasks', { owner: 'ada', rank: 1 }] };
    const results = await app.all(eve, name, [
      patch(mine, 2),
      rolledBack(refused),
      get(other),
      patch(mine, 3),
      collect,
    ]);
    expect(results).toMatchObject([
      { ok: { rank: 2 } },
      [{ error: { code: 'FORBIDDEN' } }],
      NONE,
      { ok: { rank: 3 } },
      { ok: [{ id: mine, rank: 3 }] },
    ]);
  });

  describe.each([
    "select run('set role none')",
    "select run('reset role')",
    "select run('set local role none')",
    "select run('set session authorization default')",
    "select run('reset all')",
    "select set_config('role', 'none', true)",
    "select set_config('role', 'none', false)",
    `select run($$set local app."user" = 'ada'$$)`,
    `select run('reset app."user"')`,
    "select set_config('app.user', 'ada', true)",
    "select set_config('app.user', 'ada', false)",
  ])('after `%s`', (statement) => {
    it.each(NAMES)('in %s', async (name) => {
      const steps = [get(mine), raw(statement), get(other), collect, raw('select id from tasks'), get(mine)];
      const [before, left, hidden, own, rows, after] = (await app.all(eve, name, steps)) as StepResult[];
      expect(before).toMatchObject({ ok: { id: mine } });
      expect(left).toHaveProperty('ok');
      expect(hidden).toEqual(NONE);
      expect(own).toMatchObject({ ok: [{ id: mine }] });
      expect(rows).toEqual({ ok: [{ id: mine.slice('tasks:'.length) }] });
      expect(after).toMatchObject({ ok: { id: mine } });
      await expectCleanSessions();
    });
  });
});

const who = raw("select current_user::text as role, coalesce(current_setting('app.user', true), '') as user");

/** Sees that neither clients nor the system find anything of an earlier call, on any connection. */
async function expectCleanSessions(): Promise<void> {
  const login = new URL(app.databaseUrl).username;
  const calls = Array.from({ length: 6 }, async (_, at) => {
    if (at % 2 === 0) {
      expect(await app.trusted(who)).toEqual({ ok: [{ role: login, user: '' }] });
      expect(await app.trusted(get(other))).toMatchObject({ ok: { id: other } });
    } else {
      const user = at === 1 ? null : `user-${at}`;
      expect(await app.as(user, 'write', who)).toEqual({ ok: [{ role: app.role, user: user ?? '' }] });
      expect(await app.as(user, 'read', get(other))).toEqual(NONE);
    }
  });
  await Promise.all(calls);
}

describe('nothing is left on a connection', () => {
  it('of calls under the role and of the system, which follow each other', async () => {
    for (let round = 0; round < 10; round++) await expectCleanSessions();
  });

  it.each([
    'select run($$set role %$$)',
    "select set_config('role', '%', false)",
    "select set_config('app.user', 'ada', false)",
  ])('of `%s` in a trusted call', async (statement) => {
    const result = await app.trusted(raw(statement.replace('%', app.role)));
    expect(result).toHaveProperty('ok');
    await expectCleanSessions();
  });

  it('of a call that failed', async () => {
    const { error } = await app.call(eve, 'writeAll', { steps: [get(mine), raw('select 1/0')] });
    expect(error).toMatchObject({ code: 'INTERNAL' });
    await expectCleanSessions();
  });
});
