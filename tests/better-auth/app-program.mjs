/** An application with Better Auth on the documents of its calls. Its routes are HTTP routes, and also an action. */
import { action, createAuth, createFunctionHelpers, defineRef, defineSchema, defineTable, route } from '@avvos/convoy';
import { betterAuthTables, convoyAdapter, createAuthFor } from '@avvos/convoy-auth/better-auth-adapter';
import { betterAuth } from 'better-auth';
import { organization, username } from 'better-auth/plugins';
import { z } from 'zod';

/** The last token that was sent for a password reset. */
let resetToken = null;

const options = {
  baseURL: 'http://localhost:3000',
  secret: 'a secret for the tests, of more than 32 characters: 8f1c0b7e',
  emailAndPassword: {
    enabled: true,
    sendResetPassword: async ({ token }) => {
      resetToken = token;
    },
  },
  // The token of a password reset is the identifier of its verification.
  verification: { storeIdentifier: 'hashed' },
  rateLimit: { enabled: false, storage: 'database' },
  telemetry: { enabled: false },
  // Calls only read sessions; the routes refresh them, by POST.
  session: { deferSessionRefresh: true },
  user: { additionalFields: { logins: { type: 'number', required: false, input: false } } },
  plugins: [organization(), username()],
};

const authFor = createAuthFor((database) => betterAuth({ ...options, database }));

// The port is known only to requests.
const routedFor = createAuthFor((database) => betterAuth({ ...options, baseURL: undefined, database }));

const limits = { enabled: true, storage: 'database', window: 600, max: 3 };

const limitedFor = createAuthFor((database) => betterAuth({ ...options, rateLimit: limits, database }));

const limitedRoutesFor = createAuthFor((database) =>
  betterAuth({ ...options, baseURL: undefined, basePath: '/limited', rateLimit: limits, database }),
);

export const routes = {
  auth: route.all('/api/auth/*path', (ctx, request) => routedFor(ctx).handler(request)),
  limited: route.get('/limited/*path', (ctx, request) => limitedRoutesFor(ctx).handler(request)),
};

const adapterFor = async (ctx) => (await betterAuth({ ...options, database: convoyAdapter(ctx) }).$context).adapter;

const tables = betterAuthTables(options);

const isAuthor = (ctx, note) => note.author === ctx.auth.user?.id;

export const schema = defineSchema({
  ...tables,
  // Hidden from all functions, and not from Better Auth.
  session: tables.session.access({}),
  notes: defineTable({ author: defineRef('user'), text: z.string() })
    .index('by_author', ['author'])
    .access({ read: isAuthor, insert: isAuthor }),
});

const { authed, query, mutation } = createFunctionHelpers();

export async function createContext(req, base) {
  const found = await authFor(base).api.getSession({
    headers: new Headers({ cookie: String(req.headers.cookie ?? '') }),
    query: { disableRefresh: true, disableCookieCache: true },
  });
  const auth = createAuth(found && { id: found.user.id, name: found.user.name });
  return { ...base, auth, expiresAt: found?.session.expiresAt.getTime() };
}

const account = { name: 'Ada', password: 'correct horse battery staple' };

export const functions = {
  route: action({
    input: { method: z.string(), path: z.string(), headers: z.record(z.string(), z.string()), body: z.json() },
    handler: async (ctx, { method, path, headers, body }) => {
      const request = new Request(new URL(path, options.baseURL), {
        method,
        headers: { origin: options.baseURL, 'content-type': 'application/json', ...headers },
        body: method === 'GET' ? null : JSON.stringify(body),
      });
      const response = await authFor(ctx).handler(request);
      const text = await response.text();
      return {
        status: response.status,
        cookies: response.headers.getSetCookie(),
        body: text === '' ? null : JSON.parse(text),
      };
    },
  }),
  me: query({ handler: (ctx) => ctx.auth.user?.name ?? null }),
  write: authed.mutation({
    input: { text: z.string() },
    handler: (ctx, { text }) => ctx.db.insert('notes', { author: ctx.auth.user.id, text }),
  }),
  mine: authed.query({
    handler: async (ctx) => {
      const notes = await ctx.db
        .query('notes')
        .withIndex('by_author', (q) => q.eq('author', ctx.auth.user.id))
        .collect();
      const author = await ctx.db.get(ctx.auth.user.id);
      return { author: author.email, notes: notes.map(({ text }) => text) };
    },
  }),
  /** Signs up in a transaction that may fail afterwards. */
  signUp: mutation({
    input: { email: z.string(), fails: z.boolean() },
    handler: async (ctx, { email, fails }) => {
      const { user } = await authFor(ctx).api.signUpEmail({ body: { ...account, email } });
      if (fails) throw new Error('after the sign-up');
      return user.id;
    },
  }),
  signUpInQuery: query({
    input: { email: z.string() },
    handler: async (ctx, { email }) => {
      const adapter = await adapterFor(ctx);
      const user = { name: 'Ada', email, emailVerified: false };
      return adapter.create({ model: 'user', data: user }).catch((error) => error.message);
    },
  }),
  /** Two callers who both found the same verification: only one of them may use it. */
  consumeTwice: action({
    handler: async (ctx) => {
      const adapter = await adapterFor(ctx);
      const values = { identifier: 'reset', value: 'x', expiresAt: new Date(Date.now() + 60_000) };
      await adapter.create({ model: 'verification', data: values });
      const where = [{ field: 'identifier', value: 'reset' }];
      const use = () => adapter.consumeOne({ model: 'verification', where });
      const used = await Promise.all([use(), use(), use(), use()]);
      return used.filter((each) => each !== null).length;
    },
  }),
  /** The identifier decides the id of the document, so that only one caller can reserve it. */
  reserveTwice: action({
    handler: async (ctx) => {
      const { internalAdapter } = await betterAuth({ ...options, database: convoyAdapter(ctx) }).$context;
      const values = { identifier: 'reserved', value: 'x', expiresAt: new Date(Date.now() + 60_000) };
      const reserve = () => internalAdapter.reserveVerificationValue(values);
      return [await reserve(), await reserve()];
    },
  }),
  sessions: query({ handler: async (ctx) => (await ctx.db.query('session').collect()).length }),
  undefinedValues: action({
    handler: async (ctx) => {
      const adapter = await adapterFor(ctx);
      const failure = (promise) => promise.then(JSON.stringify, (error) => `${error.name}: ${error.message}`);
      const where = [{ field: 'image', value: undefined }];
      const inList = [{ field: 'image', operator: 'in', value: ['x', undefined] }];
      return {
        findOne: await failure(adapter.findOne({ model: 'user', where })),
        findMany: await failure(adapter.findMany({ model: 'user', where: inList })),
        update: await failure(adapter.update({ model: 'user', where, update: { name: 'Eve' } })),
        deleteMany: await failure(adapter.deleteMany({ model: 'user', where })),
        ofNull: (await adapter.findMany({ model: 'user', where: [{ field: 'image', value: null }] })).length,
      };
    },
  }),
  /** The token that the user would get by email. */
  requestReset: action({
    input: { email: z.string() },
    handler: async (ctx, { email }) => {
      await authFor(ctx).api.requestPasswordReset({ body: { email } });
      return resetToken;
    },
  }),
  incrementFiveTimes: action({
    handler: async (ctx) => {
      const adapter = await adapterFor(ctx);
      const values = { name: 'Ada', email: 'ada@example.com', emailVerified: false, logins: 0 };
      const { id } = await adapter.create({ model: 'user', data: values });
      const where = [{ field: 'id', value: id }];
      const below = { field: 'logins', operator: 'lt', value: 4 };
      const increment = () =>
        adapter.incrementOne({ model: 'user', where: [...where, below], increment: { logins: 1 } });
      await Promise.all(Array.from({ length: 5 }, increment));
      const { logins } = await adapter.findOne({ model: 'user', where });
      return logins;
    },
  }),
  /** The database of the instance that all calls share, without a call. */
  outsideOfACall: action({
    handler: async (ctx) => {
      const { adapter } = await authFor(ctx).$context;
      return adapter.count({ model: 'user' }).catch((error) => error.message);
    },
  }),
  changeMany: action({
    input: { count: z.number() },
    handler: async (ctx, { count }) => {
      const adapter = await adapterFor(ctx);
      const times = { expiresAt: 1, createdAt: 1, updatedAt: 1 };
      const documents = Array.from({ length: count }, (_, n) => ({ identifier: `old-${n}`, value: 'x', ...times }));
      await ctx.db.insertMany('verification', [...documents, { identifier: 'new', value: 'x', ...times }]);
      const model = 'verification';
      const old = [{ field: 'identifier', operator: 'starts_with', value: 'old-' }];
      const changed = await adapter.updateMany({ model, where: old, update: { value: 'changed' } });
      const counted = await adapter.count({
        model,
        where: [{ field: 'value', operator: 'contains', value: 'ANGE', mode: 'insensitive' }],
      });
      const deleted = await adapter.deleteMany({
        model,
        where: [{ field: 'value', operator: 'ends_with', value: 'ged' }],
      });
      return {
        changed,
        counted,
        deleted,
        left: (await adapter.findMany({ model })).map(({ identifier }) => identifier),
      };
    },
  }),
  limited: action({
    handler: async (ctx) => {
      const headers = { 'x-forwarded-for': '192.0.2.1' };
      const request = new Request(new URL('/api/auth/ok', options.baseURL), { headers });
      return (await limitedFor(ctx).handler(request)).status;
    },
  }),
};
