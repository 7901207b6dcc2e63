/**
 * The notes of `program.ts` with an access rule: the functions have the same names and results, and leave out the checks
 * that the rule makes.
 */
import { type BaseContext, createFunctionHelpers, type DataModelOf, defineSchema } from '@avvos/convoy';
import { type Person, functions as unruled, schema as unruledSchema, type Watched } from './program.js';

interface Context extends BaseContext<DataModelOf<typeof unruledSchema>> {
  readonly user: Person;
  readonly badge?: object;
}

const { notes, settings } = unruledSchema.tables;

const isVisible = (ctx: Context, { level }: { readonly level: number }): boolean =>
  level <= ctx.user.level || ctx.user.id === 'writer';

/** The schema with rules; `weakened` as if the rule for reads were missing in the code that applies it. */
export const ruledSchema = ({ weakened }: { readonly weakened: boolean }) =>
  defineSchema({
    settings,
    notes: notes.access({ read: weakened ? true : isVisible, insert: true, update: true, delete: true }),
  });

const { query } = createFunctionHelpers<Context>();

const isStrict = async ({ db }: Context): Promise<boolean> => {
  const strict = await db
    .query('settings')
    .withIndex('by_name', (q) => q.eq('name', 'strict'))
    .first();
  return strict?.on === true;
};

const watched = {
  forLevel: query({ handler: ({ db }) => db.query('notes').collect() }),
  mine: query({
    handler: (ctx) =>
      ctx.db
        .query('notes')
        .withIndex('by_owner', (q) => q.eq('owner', ctx.user.id))
        .take(1000),
  }),
  sometimes: query({
    handler: async (ctx) => {
      const only = (await isStrict(ctx as Context)) ? ctx.user.level : 0;
      return (await ctx.db.query('notes').collect()).filter(({ level }) => level === only);
    },
  }),
  byBadge: query({
    handler: async (ctx) =>
      (await ctx.db.query('notes').collect()).filter(({ level }) => ctx.badge !== undefined || level === 0),
  }),
  spread: query({
    handler: async (ctx) => {
      const { db } = { ...ctx };
      return (await db.query('notes').paginate({ cursor: null, numItems: 1000 })).page;
    },
  }),
} satisfies Record<Watched, unknown>;

export const ruledFunctions = { notes: { ...unruled.notes, ...watched } };
