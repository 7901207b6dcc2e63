/** What a write stores, and which statements are run, where tables have rules. */

import { afterEach, describe, expect, it, vi } from 'vitest';
import { type Script, ScriptedEngine } from '../../../testing/scripted-engine.js';
import { type Context, type Handler, ID, run, STORED, stored } from './access.test-kit.js';

const unhandled = vi.fn();
process.on('unhandledRejection', unhandled);
afterEach(async () => {
  await new Promise((resolve) => setImmediate(resolve));
  expect(unhandled).not.toHaveBeenCalled();
});

describe('what is stored is what the rule was asked about', () => {
  const good = () => ({ by: { name: 'ada' } });
  const writes: readonly [string, (db: Context['db'], extra: object) => Promise<unknown>][] = [
    ['insert', (db, extra) => db.insert('notes', { owner: 'ada', extra })],
    ['insertMany', (db, extra) => db.insertMany('notes', [{ owner: 'ada', extra }])],
    ['patch', (db, extra) => db.patch(ID as never, { extra })],
    ['replace', (db, extra) => db.replace(ID as never, { owner: 'ada', extra })],
  ];
  /** Runs a write whose argument the handler, or the rule, changes to another name, and returns what the rule has seen. */
  async function changed(write: (typeof writes)[number][1], isAsync: boolean, changedBy: 'handler' | 'rule') {
    const extra = good();
    const seen: unknown[] = [];
    const rule = (...args: readonly object[]): boolean | Promise<boolean> => {
      const after = args.at(-1) as { extra: typeof extra };
      seen.push(structuredClone(after.extra));
      if (changedBy === 'rule') after.extra.by.name = 'eve';
      else if (isAsync) extra.by.name = 'eve';
      return isAsync ? Promise.resolve(true) : true;
    };
    const { ok, ops, held } = await run(
      { read: true, insert: rule, update: rule },
      async ({ db }) => {
        const written = write(db, extra);
        if (changedBy === 'handler' && !isAsync) queueMicrotask(() => Object.assign(extra.by, { name: 'eve' }));
        await written;
      },
      { holds: true },
    );
    const sent = [...ops, ...(held ?? [])].filter(({ op }) => ['insert', 'patch', 'replace'].includes(op));
    expect([ok, sent.length, seen.length]).toEqual([true, 1, 1]);
    const [operation] = sent as unknown as { doc?: { extra: unknown }; set?: { extra: unknown } }[];
    return { seen: seen[0], stored: (operation?.doc ?? operation?.set)?.extra };
  }

  it.each(writes)('for %s, although the handler changes its objects', async (_name, write) => {
    for (const isAsync of [false, true]) {
      const { seen, stored: sent } = await changed(write, isAsync, 'handler');
      expect(sent).toEqual(seen);
    }
    expect((await changed(write, true, 'handler')).stored).toEqual(good());
  });

  it.each(writes)('for %s, with the numbers that JavaScript cannot represent', async (_name, write) => {
    const number = '9007199254740993';
    const script: Script = (op) =>
      op.op === 'get'
        ? { ok: { ...STORED, extra: { big: Number(number) } }, ...{ numbers: [[['extra', 'big'], number]] } }
        : stored(op);
    const sent = vi.spyOn(ScriptedEngine.prototype, 'operate');
    const handler: Handler = async ({ db }) => {
      const { extra } = (await db.get(ID as never)) as unknown as { extra: object };
      await write(db, { copied: extra });
    };
    expect(await run({ read: true, insert: true, update: true }, handler, { script })).toMatchObject({ ok: true });
    expect(sent.mock.calls.map(([, , text]) => text).join()).toContain(`"extra":{"copied":{"big":${number}}}`);
    sent.mockRestore();
  });

  it.each(writes)('for %s, although the rule changes its arguments', async (_name, write) => {
    for (const isAsync of [false, true]) expect((await changed(write, isAsync, 'rule')).stored).toEqual(good());
  });
});

describe('a statement', () => {
  const raw = (text: string, tables?: readonly string[]) =>
    run({}, ({ db }) => db.raw({ text, values: [] }, tables === undefined ? {} : { tables }), {
      kind: 'query',
      script: () => ({ ok: [] }),
    });

  it.each([
    'select count(*) from notes',
    'select 1 from "notes"',
    'select 1 from public.NOTES n',
    'select 1 from members join notes on true',
    'select (select 1 from notes)',
  ])('that names a table with rules is refused, although the list does not: %s', async (text) => {
    const { ok, body, ops } = await raw(text, ['members']);
    expect({ ok, ops }).toEqual({ ok: false, ops: [] });
    expect(body).toMatchObject({
      code: 'INVALID_ARGS',
      message: expect.stringMatching(
        /^raw\(\) is not subject to the access rules of notes, which this statement names\./,
      ),
    });
  });

  it('with an empty list is refused', async () => {
    const { ok, body, ops } = await raw('select 1', []);
    expect({ ok, ops }).toEqual({ ok: false, ops: [] });
    expect(body).toMatchObject({ message: expect.stringMatching(/^raw\(\): \{ tables: \[\] \} names no table\./) });
  });

  it('on other tables is run', async () => {
    for (const text of ['select 1 from members', 'select footnotes, notes2, my_notes from members']) {
      expect(await raw(text, ['members'])).toMatchObject({ ok: true, ops: [{ op: 'raw', text }] });
    }
  });

  it('has no such limits by `system`, and in a program without rules', async () => {
    const handler: Handler = ({ db }) => db.system.raw({ text: 'select 1 from notes', values: [] }, { tables: [] });
    const settings = { kind: 'query', script: () => ({ ok: [] }) } as const;
    expect((await run({}, handler, settings)).ok).toBe(true);
    expect((await run(null, handler, settings)).ok).toBe(true);
    const unruled: Handler = ({ db }) => db.raw({ text: 'select 1', values: [] }, { tables: [] });
    expect((await run(null, unruled, settings)).ok).toBe(true);
  });
});
