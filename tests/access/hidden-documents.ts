/** What holds for access rules and for policies of Postgres alike: to whom a document is hidden, it is absent. */
import { expect, it } from 'vitest';
import type { StepResult } from './app.js';
import type { Step } from './program.js';

/** The functions of the programs that write, and those that read. */
export const WRITES = ['write', 'act', 'writeAlone', 'inTransaction', 'writeJoined', 'writeFromAction'] as const;
export const READS = ['read', 'readJoined', 'readFromAction', ...WRITES] as const;

interface App {
  as(user: string | null, name: (typeof READS)[number], step: Step): Promise<{ readonly ok?: unknown }>;
  trusted(step: Step): Promise<{ readonly ok?: unknown }>;
}

/** Inserts and reads documents in trusted calls of the app of a test file, which is opened before its tests. */
export function trustedCalls(current: () => { trusted(step: Step): Promise<StepResult> }) {
  return {
    insert: async (table: string, document: object): Promise<string> =>
      (await current().trusted({ do: 'insert', args: [table, document] })).ok,
    stored: async (id: string) => (await current().trusted({ do: 'get', args: [id] })).ok,
  };
}

/** A note of ada, and one of eve. */
interface Notes {
  readonly app: App;
  readonly id: string;
  readonly mine: string;
}

/** Defines the tests of a server on which the notes of a user are hidden from all others. */
export function readsFindNoHiddenNotes(current: () => Notes): void {
  it.each(READS)('for reads, in %s', async (name) => {
    const { app, id, mine } = current();
    const get = (user: string | null) => app.as(user, name, { do: 'get', args: [id] });
    expect(await get('eve')).toEqual({ ok: null });
    expect(await get(null)).toEqual({ ok: null });
    expect(await get('ada')).toMatchObject({ ok: { id, owner: 'ada' } });
    const many = { do: 'getMany', args: [[id, mine, id]] };
    expect(await app.as('eve', name, many)).toMatchObject({ ok: [null, { id: mine }, null] });
  });

  it.each(READS)('for queries, in %s', async (name) => {
    const { app, id } = current();
    const all = [['query', 'notes']] as const;
    const owners = async (step: Omit<Step, 'query'>, query: Step['query'] = all) => {
      const { ok } = await app.as('eve', name, { ...step, query });
      const page = (ok as { readonly page?: unknown } | null)?.page;
      const documents = Array.isArray(ok) ? ok : (page ?? (ok === null ? [] : [ok]));
      return (documents as { readonly owner: string }[]).map(({ owner }) => owner);
    };
    const own = (await owners({ do: 'collect', args: [] })).length;
    expect(own).toBeGreaterThan(0);
    for (const step of [
      { do: 'collect', args: [] },
      { do: 'take', args: [10_000] },
      { do: 'iterate', args: [] },
      { do: 'paginate', args: [{ cursor: null, numItems: 1000 }] },
    ]) {
      expect(await owners(step)).toEqual(Array(own).fill('eve'));
    }
    expect(await owners({ do: 'first', args: [] })).toEqual(['eve']);
    expect(await app.as('eve', name, { do: 'count', args: [], query: all })).toEqual({ ok: own });
    const limited = [...all, ['offset', own - 1], ['limit', 5]] as const;
    expect(await owners({ do: 'collect', args: [] }, limited)).toEqual(['eve']);
    expect(await app.as('eve', name, { do: 'count', args: [], query: limited })).toEqual({ ok: 1 });
    const { slug } = (await app.trusted({ do: 'get', args: [id] })).ok as { readonly slug: string };
    const hidden = [...all, ['withIndex', 'by_slug', { eq: ['slug', slug] }]] as const;
    expect(await app.as('eve', name, { do: 'unique', args: [], query: hidden })).toEqual({ ok: null });
    const filtered = [...all, ['filter', { filter: ['slug', slug] }]] as const;
    expect(await owners({ do: 'collect', args: [] }, filtered)).toEqual([]);
  });
}
