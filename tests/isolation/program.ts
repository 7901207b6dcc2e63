/** Notes with an owner and a level, and queries that differ in which part of their caller they read. */
import { type BaseContext, createFunctionHelpers, type DataModelOf, defineSchema, defineTable } from '@avvos/convoy';
import { z } from 'zod';

export const schema = defineSchema({
  notes: defineTable({ owner: z.string(), level: z.number(), text: z.string() }).index('by_owner', ['owner']),
  settings: defineTable({ name: z.string(), on: z.boolean() }).index('by_name', ['name'], { unique: true }),
});

export interface Person {
  readonly id: string;
  readonly level: number;
}

export interface Note {
  readonly id: string;
  readonly owner: string;
  readonly level: number;
}

type Base = BaseContext<DataModelOf<typeof schema>>;
type Context = Base & {
  readonly user: Person;
  readonly clearance: { readonly id: string; readonly level: number };
  readonly badge?: Badge;
};

/** An object without a comparable value. */
class Badge {
  readonly #person: Person;
  constructor(person: Person) {
    this.#person = person;
  }
  get person(): Person {
    return this.#person;
  }
}

const { query, mutation } = createFunctionHelpers<Context>();

/** Handlers that differ in which part of their caller they read, and when. */
const watched = {
  /** By level: people of one level share it. */
  forLevel: query({
    handler: async ({ db, clearance }) =>
      (await db.query('notes').collect()).filter(({ level }) => level <= clearance.level),
  }),
  /** By person and level. */
  mine: query({
    handler: async (ctx) =>
      (
        await ctx.db
          .query('notes')
          .withIndex('by_owner', (q) => q.eq('owner', ctx.user.id))
          .collect()
      ).filter(({ level }) => level <= ctx.user.level),
  }),
  /** By level, but only while the setting is on: otherwise the same for all. */
  sometimes: query({
    handler: async (ctx) => {
      const strict = await ctx.db
        .query('settings')
        .withIndex('by_name', (q) => q.eq('name', 'strict'))
        .first();
      const only = strict?.on === true ? ctx.clearance.level : 0;
      return (await ctx.db.query('notes').collect()).filter(({ level }) => level === only);
    },
  }),
  /** By a badge, which is not plain data, where the caller has one. */
  byBadge: query({
    handler: async (ctx) => {
      const maxLevel = ctx.badge?.person.level ?? 0;
      return (await ctx.db.query('notes').collect()).filter(({ level }) => level <= maxLevel);
    },
  }),
  /** By the whole context, spread into another object. */
  spread: query({
    handler: async (ctx) => {
      const { user, ...rest } = { ...ctx };
      return (await rest.db.query('notes').collect()).filter(({ level }) => level <= user.level);
    },
  }),
};
export type Watched = keyof typeof watched;
export const NAMES = Object.keys(watched) as Watched[];

export const functions = {
  notes: {
    ...watched,
    write: mutation({
      input: { owner: z.string(), level: z.number() },
      handler: (ctx, note) => ctx.db.insert('notes', { ...note, text: 'x'.repeat(50) }),
    }),
    change: mutation({
      input: { id: z.string(), owner: z.string(), level: z.number() },
      handler: (ctx, { id, ...change }) => ctx.db.patch('notes', id as never, change),
    }),
    remove: mutation({
      input: { id: z.string() },
      handler: (ctx, { id }) => ctx.db.delete('notes', id as never),
    }),
    setStrict: mutation({
      input: { on: z.boolean() },
      handler: async (ctx, { on }) => {
        const strict = await ctx.db
          .query('settings')
          .withIndex('by_name', (q) => q.eq('name', 'strict'))
          .first();
        if (strict === null) await ctx.db.insert('settings', { name: 'strict', on });
        else await ctx.db.patch(strict.id, { on });
      },
    }),
  },
};

/** A token that contains a person's identity, some with a badge. */
export const tokenOf = ({ id, level }: Person, badge: boolean) => `${id}/${level}${badge ? '/badge' : ''}`;

export function createContext(req: { readonly headers: { readonly authorization?: unknown } }, base: Base): Context {
  const [id = '', level = '0', badge] = String(req.headers.authorization).slice('Bearer '.length).split('/');
  const user = { id, level: Number(level) };
  // The same `id` for all, so that a change of level does not change the caller's identity.
  const clearance = { id: 'clearance', level: user.level };
  return { ...base, user, clearance, ...(badge === undefined ? {} : { badge: new Badge(user) }) };
}

/** The notes that the query `name` must return to a viewer. */
export function expectedNotes(
  name: Watched,
  notes: readonly Note[],
  { person, badge }: Viewer,
  strict: boolean,
): readonly Note[] {
  const upTo = (level: number) => notes.filter((note) => note.level <= level);
  switch (name) {
    case 'forLevel':
    case 'spread':
      return upTo(person.level);
    case 'mine':
      return upTo(person.level).filter(({ owner }) => owner === person.id);
    case 'sometimes':
      return notes.filter(({ level }) => level === (strict ? person.level : 0));
    case 'byBadge':
      return upTo(badge ? person.level : 0);
  }
}

export interface Viewer {
  person: Person;
  readonly badge: boolean;
}
