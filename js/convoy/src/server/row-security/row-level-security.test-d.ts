/** The types of `rls`, checked by the compiler. */

import { expectTypeOf } from 'vitest';
import * as z from 'zod';
import { defineSchema, defineTable } from '../../schema/index.js';
import type { Auth } from '../auth.js';
import type { BaseContext } from '../contexts.js';
import { createConvoy } from '../convoy.js';
import type { ProgramSource } from '../program.js';
import type { RowLevelSecurity, RowSettings } from './row-level-security.js';

interface AppContext extends BaseContext {
  readonly auth: Auth;
  readonly team: { readonly id: number } | null;
}

// In `convoy/server.ts`, the context comes from the annotation.
const rls: RowLevelSecurity<AppContext> = {
  role: 'app_user',
  settings: (ctx) => {
    expectTypeOf(ctx).toEqualTypeOf<AppContext>();
    return {
      'app.user': ctx.auth.user?.id,
      'app.team': ctx.team?.id,
      'app.admin': ctx.auth.can('admin'),
      'app.x': null,
    };
  },
};
expectTypeOf(rls).toExtend<RowLevelSecurity>();
expectTypeOf(rls.settings).returns.toEqualTypeOf<RowSettings>();
expectTypeOf<{ rls: typeof rls }>().toExtend<Pick<ProgramSource, 'rls'>>();

export const mistakes: readonly RowLevelSecurity<AppContext>[] = [
  // @ts-expect-error a context has no such member
  { role: 'app_user', settings: (ctx) => ({ 'app.user': ctx.usr }) },
  // @ts-expect-error settings are synchronous
  { role: 'app_user', settings: async () => ({}) },
  // @ts-expect-error an object is no setting
  { role: 'app_user', settings: (ctx) => ({ 'app.team': ctx.team }) },
  // @ts-expect-error there is no role
  { settings: () => ({}) },
  // @ts-expect-error a list is no setting
  { role: 'app_user', settings: () => ({ 'app.roles': ['a'] }) },
];

const schema = defineSchema({ notes: defineTable({ owner: z.string() }) });
const options = { schema, functions: {}, databaseUrl: 'postgres://localhost/app' };

// In `createConvoy`, the context is that of `createContext`.
createConvoy({
  ...options,
  createContext: async ({ ip }, base) => ({ ...base, user: ip ?? null }),
  rls: {
    role: 'app_user',
    settings: (ctx) => {
      expectTypeOf(ctx.user).toEqualTypeOf<string | null>();
      return { 'app.user': ctx.user };
    },
  },
});
createConvoy({
  ...options,
  createContext: (req, base) => ({ ...base, user: String(req.headers.authorization) }),
  // @ts-expect-error the context has no such member
  rls: { role: 'app_user', settings: (ctx) => ({ 'app.user': ctx.usr }) },
});
createConvoy({
  ...options,
  createContext: (_req, base): AppContext => ({ ...(base as unknown as AppContext) }),
  rls,
});
// @ts-expect-error no `createContext` makes the members that these settings read
createConvoy({ ...options, createContext: (_req, base) => ({ ...base, user: 'x' }), rls });
createConvoy({ ...options, rls: { role: 'app_user', settings: ({ now }) => ({ 'app.at': now() }) } });
