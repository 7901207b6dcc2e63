import { type DataModelOf, defineRef, defineSchema, defineTable, type Id } from '@avvos/convoy';
import { organization, username } from 'better-auth/plugins';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { z } from 'zod';
import { betterAuthTables } from './tables.js';

const tables = betterAuthTables({
  plugins: [organization(), username()],
  user: { additionalFields: { born: { type: 'date', required: false }, plan: { type: ['free', 'paid'] } } },
});

describe('betterAuthTables', () => {
  it('has the models of Better Auth and its plugins, as a schema that Convoy accepts', () => {
    const schema = defineSchema({ ...tables, notes: defineTable({ author: defineRef('user'), text: z.string() }) });
    expect(Object.keys(schema.tables)).toContain('notes');
    expect(Object.keys(tables).sort()).toEqual([
      'account',
      'invitation',
      'member',
      'organization',
      'session',
      'user',
      'verification',
    ]);
  });

  it('has unique indexes where Better Auth relies on them', () => {
    const unique = Object.entries(tables).flatMap(([name, table]) =>
      Object.keys(table.indexes)
        .filter((index) => table.isUnique(index))
        .map((index) => `${name}.${index}`),
    );
    expect(unique.sort()).toEqual([
      'account.by_providerId_accountId',
      'organization.by_slug',
      'session.by_token',
      'user.by_email',
      'user.by_username',
    ]);
  });

  it('stores dates as numbers, and checks documents', () => {
    const user = {
      name: 'Ada',
      email: 'ada@example.com',
      emailVerified: true,
      createdAt: 1,
      updatedAt: 2,
      plan: 'free',
    };
    expect(tables.user.isValid({ ...user, born: null })).toBe(true);
    expect(tables.user.isValid({ ...user, createdAt: new Date() })).toBe(false);
    expect(tables.user.isValid({ ...user, plan: 'other' })).toBe(false);
    expect(tables.user.isValid({ ...user, email: undefined })).toBe(false);
  });

  it('uses the names that the options give', () => {
    const renamed = betterAuthTables({ user: { modelName: 'people', fields: { email: 'address' } } });
    expect(renamed.people.indexes).toHaveProperty('by_address', ['address']);
    expect(renamed.session.indexes).toHaveProperty('by_userId', ['userId']);
    type Model = DataModelOf<ReturnType<typeof schemaOf>>;
    const schemaOf = () => defineSchema({ ...renamed });
    expectTypeOf<Model['people']['document']['address']>().toEqualTypeOf<string>();
    expectTypeOf<Model['session']['document']['userId']>().toEqualTypeOf<Id<'people'>>();
  });

  it('has no table for what is stored elsewhere, and one for rate limits in the database', () => {
    const secondaryStorage = {
      get: () => null,
      getAndDelete: () => null,
      set: () => undefined,
      delete: () => undefined,
      increment: async () => 1,
    };
    const elsewhere = betterAuthTables({ secondaryStorage, rateLimit: { storage: 'database' } });
    expect(Object.keys(elsewhere).sort()).toEqual(['account', 'rateLimit', 'user']);
    expectTypeOf<keyof typeof elsewhere>().toEqualTypeOf<'account' | 'rateLimit' | 'user'>();
    const kept = betterAuthTables({ secondaryStorage, session: { storeSessionInDatabase: true } });
    expectTypeOf<keyof typeof kept>().toEqualTypeOf<'account' | 'session' | 'user'>();
    expect(Object.keys(kept).sort()).toEqual(['account', 'session', 'user']);
  });

  it('is typed', () => {
    const schemaOf = () => defineSchema({ ...tables });
    type Model = DataModelOf<ReturnType<typeof schemaOf>>;
    type User = Model['user']['document'];
    expectTypeOf<User['id']>().toEqualTypeOf<Id<'user'>>();
    expectTypeOf<User['email']>().toEqualTypeOf<string>();
    expectTypeOf<User['createdAt']>().toEqualTypeOf<number>();
    expectTypeOf<User['born']>().toEqualTypeOf<number | null | undefined>();
    expectTypeOf<User['plan']>().toEqualTypeOf<'free' | 'paid'>();
    expectTypeOf<User['username']>().toEqualTypeOf<string | null | undefined>();
    expectTypeOf<Model['session']['document']['userId']>().toEqualTypeOf<Id<'user'>>();
    expectTypeOf<Model['organization']['document']['slug']>().toEqualTypeOf<string>();
    expectTypeOf<Model['member']['document']['organizationId']>().toEqualTypeOf<Id<'organization'>>();
    expectTypeOf<Model['user']['indexes']>().toHaveProperty('by_email');
    // @ts-expect-error: there is no such table.
    expectTypeOf<Model['passkey']>().toBeNever();
  });
});
