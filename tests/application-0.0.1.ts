/**
 * An application written for Convoy 0.0.1, as path → text. It uses no API of this version. `drizzle-orm` was a
 * dependency of 0.0.1 and is not among the application's own packages.
 */
export const application: Readonly<Record<string, string>> = {
  'package.json': JSON.stringify({
    name: 'an-application',
    type: 'module',
    dependencies: { '@avvos/convoy': '0.0.1', react: '^19.0.0', zod: '^4.0.0' },
  }),

  'tsconfig.json': JSON.stringify({
    compilerOptions: {
      strict: true,
      noEmit: true,
      jsx: 'react-jsx',
      target: 'es2022',
      module: 'esnext',
      moduleResolution: 'bundler',
      allowImportingTsExtensions: true,
      types: ['node'],
    },
    include: ['convoy', 'src'],
  }),

  'convoy/schema.ts': `import { z } from 'zod';
import { defineRef, defineSchema, defineTable } from '@avvos/convoy';

const schema = defineSchema({
  users: defineTable({ name: z.string(), token: z.string() }).index('by_token', ['token']),
  projects: defineTable({ ownerId: defineRef('users'), name: z.string(), createdAt: z.number() }).index('by_owner', [
    'ownerId',
  ]),
  todos: defineTable({
    projectId: defineRef('projects'),
    text: z.string(),
    done: z.boolean(),
    points: z.number().optional(),
    createdAt: z.number(),
  }).index('by_project', ['projectId', 'createdAt']),
});

export default schema;
`,

  'convoy/server.ts': `import type { IncomingMessage } from 'node:http';
import { createFunctionHelpers } from '@avvos/convoy';
import type { Doc } from './_generated/dataModel';
import type { ServerContext } from './_generated/server';

export type AppContext = ServerContext & { user: Doc<'users'> | null };

export async function createContext(req: IncomingMessage, base: ServerContext): Promise<AppContext> {
  const token = req.headers['x-token'];
  if (typeof token !== 'string') return { ...base, user: null };
  const user = await base.db
    .query('users')
    .withIndex('by_token', (q) => q.eq('token', token))
    .first();
  return { ...base, user };
}

// It was called with the server and the pool.
export function configureServer(_parts: unknown): void {}

const helpers = createFunctionHelpers<AppContext>();
export const query = helpers.query;
export const mutation = helpers.mutation;
`,

  'convoy/helpers.ts': `import type { ConvoyContext, DbFromSchema, Id } from '@avvos/convoy';
import type schema from './schema';

export async function openTodos(ctx: ConvoyContext<DbFromSchema<typeof schema>>, projectId: Id<'projects'>) {
  const todos = await ctx.db
    .query('todos')
    .withIndex('by_project', (q) => q.eq('projectId', projectId))
    .collect();
  return todos.filter((todo) => !todo.done);
}
`,

  'convoy/functions/users.ts': `import { z } from 'zod';
import { mutation } from '../_generated/server';

export const create = mutation({
  input: { name: z.string(), token: z.string() },
  handler: async (ctx, { name, token }) => ctx.db.insert('users', { name, token }),
});
`,

  'convoy/functions/projects.ts': `import { convoyError, defineRef } from '@avvos/convoy';
import { z } from 'zod';
import { mutation, query } from '../server';

export const mine = query({
  input: {},
  handler: async (ctx) => {
    if (!ctx.user) throw convoyError('UNAUTHORIZED', 'Sign in first');
    const owner = ctx.user;
    return ctx.db
      .query('projects')
      .withIndex('by_owner', (q) => q.eq('ownerId', owner.id))
      .order('desc', 'createdAt')
      .collect();
  },
});

export const create = mutation({
  input: { name: z.string().min(1) },
  handler: async (ctx, { name }) => {
    if (!ctx.user) throw convoyError('UNAUTHORIZED', 'Sign in first');
    return ctx.db.insert('projects', { ownerId: ctx.user.id, name, createdAt: Date.now() });
  },
});

export const remove = mutation({
  input: { id: defineRef('projects') },
  handler: async (ctx, { id }) =>
    ctx.db.transaction(async (tx) => {
      const todos = await tx
        .query('todos')
        .withIndex('by_project', (q) => {
          q.eq('projectId', id);
          return q;
        })
        .collect();
      await tx.deleteMany(
        'todos',
        todos.map((todo) => todo.id),
      );
      return tx.delete(id);
    }),
});
`,

  'convoy/functions/todos/index.ts': `import { defineRef } from '@avvos/convoy';
import { z } from 'zod';
import { mutation, query } from '../../_generated/server';

export const todos = query({
  input: { projectId: defineRef('projects'), limit: z.number().optional() },
  handler: async (ctx, { projectId, limit }) => {
    let q = ctx.db.query('todos').withIndex('by_project', (r) => r.eq('projectId', projectId)).order('desc');
    if (limit !== undefined) q = q.limit(limit);
    return q.collect();
  },
});

export const add = mutation({
  input: { projectId: defineRef('projects'), text: z.string().min(1), points: z.number().optional() },
  handler: async (ctx, { projectId, text, points }) =>
    ctx.db.insert('todos', { projectId, text, points, done: false, createdAt: Date.now() }),
});

export const toggle = mutation({
  input: { id: defineRef('todos') },
  handler: async (ctx, { id }) => {
    const todo = await ctx.db.get(id);
    if (!todo) throw new Error('No such todo');
    return ctx.db.patch(id, { done: !todo.done });
  },
});
`,

  'convoy/functions/todos/reports.ts': `import { defineRef } from '@avvos/convoy';
import { sql } from 'drizzle-orm';
import { z } from 'zod';
import { query } from '../../_generated/server';
import { openTodos } from '../../helpers';
import { todos } from './index';

export const points = query({
  input: { atLeast: z.number() },
  handler: async (ctx, { atLeast }) => {
    const table = sql.identifier('todos');
    return ctx.db.raw<{ done: boolean; points: string }>(
      sql\`select (data->>'done')::boolean as done, sum((data->>'points')::numeric) as points
          from \${table} where (data->>'points')::numeric >= \${atLeast} group by 1 order by 1\`,
    );
  },
});

export const summary = query({
  input: { projectId: defineRef('projects') },
  handler: async (ctx, { projectId }) => {
    const all = await ctx.runQuery(todos, { projectId });
    return { total: all.length, open: (await openTodos(ctx, projectId)).length };
  },
});
`,

  'src/client.ts': `import { ConvoyError, createConvoyClient } from '@avvos/convoy/client';
import type { Doc, Id } from '../convoy/_generated/dataModel';
import { api } from '../convoy/_generated/api.ts';

export async function run(baseUrl: string, token: string) {
  const client = createConvoyClient({ baseUrl, headers: { 'x-token': token } });
  try {
    const projectId: Id<'projects'> = await client.mutation(api.projects.create, { name: 'house' });
    const id = await client.mutation(api.todos.add, { projectId, text: 'paint', points: 3 });
    await client.mutation(api.todos.add, { projectId, text: 'sweep', points: 2 });
    await client.mutation(api.todos.toggle, { id });
    const todos: Doc<'todos'>[] = await client.query(api.todos.todos, { projectId, limit: 5 });
    const projects = await client.query(api.projects.mine, {});
    return {
      projects: projects.map(({ name }) => name),
      todos: todos.map(({ text, done }) => [text, done]),
      summary: await client.query(api.todos.reports.summary, { projectId }),
      points: await client.query(api.todos.reports.points, { atLeast: 1 }),
      removed: await client.mutation(api.projects.remove, { id: projectId }),
      left: await client.query(api.todos.todos, { projectId }),
    };
  } finally {
    client.close();
  }
}

export async function refused(baseUrl: string): Promise<string> {
  const client = createConvoyClient({ baseUrl });
  try {
    await client.query(api.projects.mine, {});
    return 'answered';
  } catch (error) {
    return error instanceof ConvoyError ? error.code : 'another error';
  } finally {
    client.close();
  }
}
`,

  'src/app.tsx': `import { useState } from 'react';
import type { ConvoyClient } from '@avvos/convoy/client';
import { skipToken, useMutation, useMutationState, useQuery } from '@avvos/convoy/react';
import type { Doc, Id } from '../convoy/_generated/dataModel';
import { api } from '../convoy/_generated/api';

export function App({ client }: { client: ConvoyClient }) {
  const [projectId, setProjectId] = useState<Id<'projects'> | null>(null);
  const { data: projects, isLoading, error, refetch } = useQuery(api.projects.mine, {}, { client });
  const { data: todos, connectionState } = useQuery(
    api.todos.todos,
    projectId ? { projectId, limit: 50 } : skipToken,
    { client, enabled: projectId !== null, subscribe: true },
  );
  const toggle = useMutation(api.todos.toggle, { client });
  const { mutate: add, isLoading: adding, error: refused, reset } = useMutationState(api.todos.add, { client });
  const all = todos as Doc<'todos'>[] | null;

  if (isLoading) return <p>Loading</p>;
  if (error) return <p onClick={() => refetch()}>{error.message}</p>;
  return (
    <main>
      {projects?.map((project) => (
        <button key={project.id} onClick={() => setProjectId(project.id)}>
          {project.name}
        </button>
      ))}
      <ul>
        {all?.map((todo) => (
          <li key={todo.id} onClick={() => toggle({ id: todo.id })}>
            {todo.text} {todo.done ? 'done' : ''}
          </li>
        ))}
      </ul>
      {refused && <p onClick={reset}>{refused.message}</p>}
      <button
        disabled={adding || projectId === null}
        onClick={async () => {
          if (projectId) await add({ projectId, text: 'another' });
        }}
      >
        Add ({connectionState})
      </button>
    </main>
  );
}
`,

  // Files that 0.0.1 generated and this version does not.
  'convoy/_generated/functions.ts': `// Generated by convoy dev. Do not edit.
import * as mod0 from "../functions/users";

export const queries = {} as const;

export const mutations = {
  "users.create": mod0.create
} as const;
`,
  'convoy/_generated/api.d.ts': `// Generated by convoy dev. Do not edit.
export declare const api: {};
`,
  'convoy/_generated/server.d.ts': `// Generated by convoy dev. Do not edit.
import type { ConvoyContext } from "@avvos/convoy";

export type ServerContext = ConvoyContext;
`,
  'convoy/_generated/dataModel.d.ts': `// Generated by convoy dev. Do not edit.
import type schema from "../schema";

export type DataModel = typeof schema;
`,
};
