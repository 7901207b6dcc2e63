/** What the compiler says about a wrong call, and where: in words, at the function or at the field that is wrong. */
import { beforeAll, describe, expect, test } from 'vitest';
import { REFERENCES } from './references.js';
import { type CompilerError, compile, compileWithLatest, type Snippet } from './snippets.js';

/** A line of a snippet: the call, the code that the error is about, and the end of its message. */
type Line = readonly [call: string, at: string, message: string];

const WRONG_ARGS: readonly Line[] = [
  ['CALL(api.messages.list, { channelId: 7 });', 'channelId', "Type 'number' is not assignable to type 'string'."],
  [
    "CALL(api.messages.list, { channelId: 'a', limit: 'ten' });",
    'limit',
    "Type 'string' is not assignable to type 'number'.",
  ],
  ["CALL(api.messages.list, { channelId: 'a', limt: 1 });", 'limt', "'limt' does not exist in type"],
  ['CALL(api.messages.list, { limit: 1 });', '{ limit: 1 }', "Property 'channelId' is missing"],
];

const wrongArgs = (call: string): Line[] => WRONG_ARGS.map(([line, ...rest]) => [line.replace('CALL', call), ...rest]);

const hooks: readonly Line[] = [
  [
    "useQuery(api.messages.send, { channelId: 'a', body: '' });",
    'api.messages.send',
    '"messages.send is a mutation. Call it with useMutation."',
  ],
  [
    "useQuery(api.messages.notify, { to: 'a' });",
    'api.messages.notify',
    '"messages.notify is an action. Call it with useAction."',
  ],
  ['useMutation(api.messages.list);', 'api.messages.list', '"messages.list is a query. Call it with useQuery."'],
  [
    'useMutation(api.messages.notify);',
    'api.messages.notify',
    '"messages.notify is an action. Call it with useAction."',
  ],
  ['useAction(api.messages.list);', 'api.messages.list', '"messages.list is a query. Call it with useQuery."'],
  ['useAction(api.messages.send);', 'api.messages.send', '"messages.send is a mutation. Call it with useMutation."'],
  [
    "useMutation(api.messages.send)({ channelId: 'a', body: 7 });",
    'body',
    "Type 'number' is not assignable to type 'string'.",
  ],
  ["useMutation(api.messages.send)({ channelId: 'a' });", "{ channelId: 'a' }", "Property 'body' is missing"],
  ['useAction(api.messages.notify)({ to: 7 });', 'to', "Type 'number' is not assignable to type 'string'."],
  ...wrongArgs('useQuery'),
];

const PLACES: Readonly<Record<string, { readonly imports: string; readonly lines: readonly Line[] }>> = {
  react: { imports: "import { useAction, useMutation, useQuery } from '@avvos/convoy/react';", lines: hooks },
  vue: { imports: "import { useAction, useMutation, useQuery } from '@avvos/convoy/vue';", lines: hooks },
  svelte: { imports: "import { useAction, useMutation, useQuery } from '@avvos/convoy/svelte';", lines: hooks },
  solid: { imports: "import { useAction, useMutation, useQuery } from '@avvos/convoy/solid';", lines: hooks },
  'other hooks of React': {
    imports: "import { useMutationState, usePaginatedQuery, useQueries, useSuspenseQuery } from '@avvos/convoy/react';",
    lines: [
      [
        "useSuspenseQuery(api.messages.send, { channelId: 'a', body: '' });",
        'api.messages.send',
        '"messages.send is a mutation. Call it with useMutation."',
      ],
      ...wrongArgs('useSuspenseQuery'),
      [
        "useQueries({ sent: { ref: api.messages.send, args: { channelId: 'a', body: '' } } });",
        'ref',
        '"messages.send is a mutation. Call it with useMutation."',
      ],
      [
        'useQueries({ list: { ref: api.messages.list, args: { channelId: 7 } } });',
        'channelId',
        "Type 'number' is not assignable to type 'string'.",
      ],
      [
        "usePaginatedQuery(api.messages.notify, { to: 'a' }, { initialNumItems: 1 });",
        'api.messages.notify',
        '"messages.notify is an action. Call it with useAction."',
      ],
      [
        'usePaginatedQuery(api.messages.all, {}, { initialNumItems: 1 });',
        'api.messages.all',
        '"this query does not return a page: return the result of .paginate(paginationOpts)"',
      ],
      [
        'usePaginatedQuery(api.messages.pages, { channelId: 7 }, { initialNumItems: 1 });',
        'channelId',
        "Type 'number' is not assignable to type 'string'.",
      ],
      [
        'useMutationState(api.messages.list);',
        'api.messages.list',
        '"messages.list is a query. Call it with useQuery."',
      ],
    ],
  },
  tanstack: {
    imports: "import { mutationOptions, queryOptions } from '@avvos/convoy/tanstack';",
    lines: [
      [
        "queryOptions(api.messages.send, { channelId: 'a', body: '' });",
        'api.messages.send',
        '"messages.send is a mutation. Call it with mutationOptions."',
      ],
      [
        'mutationOptions(api.messages.list);',
        'api.messages.list',
        '"messages.list is a query. Call it with queryOptions."',
      ],
      [
        'mutationOptions(api.messages.notify);',
        'api.messages.notify',
        '"messages.notify is an action. Call it with client.action."',
      ],
      ...wrongArgs('queryOptions'),
    ],
  },
  client: {
    imports: '',
    lines: [
      [
        "client.query(api.messages.send, { channelId: 'a', body: '' });",
        'api.messages.send',
        '"messages.send is a mutation. Call it with client.mutation."',
      ],
      [
        "client.mutation(api.messages.list, { channelId: 'a' });",
        'api.messages.list',
        '"messages.list is a query. Call it with client.query."',
      ],
      [
        "client.action(api.messages.send, { channelId: 'a', body: '' });",
        'api.messages.send',
        '"messages.send is a mutation. Call it with client.mutation."',
      ],
      [
        "client.watch(api.messages.send, { channelId: 'a', body: '' }, () => {});",
        'api.messages.send',
        '"messages.send is a mutation. Call it with client.mutation."',
      ],
      [
        "client.liveQuery(api.messages.notify, { to: 'a' });",
        'api.messages.notify',
        '"messages.notify is an action. Call it with client.action."',
      ],
      [
        "paginatedQuery(client, api.messages.notify, { to: 'a' }, { initialNumItems: 1 });",
        'api.messages.notify',
        '"messages.notify is an action. Call it with client.action."',
      ],
      ...wrongArgs('client.query'),
    ],
  },
  server: {
    imports: `import { action, mutation } from '@avvos/convoy';
import type { Convoy } from '@avvos/convoy/node';
import { z } from 'zod';
declare const convoy: Convoy;
const touch = mutation({ input: { n: z.number() }, handler: () => 1 });`,
    lines: [
      [
        "convoy.query(api.messages.send, { channelId: 'a', body: '' });",
        'api.messages.send',
        '"messages.send is a mutation. Call it with convoy.mutation."',
      ],
      [
        'action({ handler: (ctx) => ctx.runQuery(api.messages.notify, { to: "a" }) });',
        'api.messages.notify',
        '"messages.notify is an action. Call it with ctx.runAction."',
      ],
      [
        'action({ handler: (ctx) => ctx.runQuery(touch, { n: 1 }) });',
        'touch',
        '"This function is a mutation. Call it with ctx.runMutation."',
      ],
      [
        "action({ handler: (ctx) => ctx.runMutation(touch, { n: 'a' }) });",
        'n',
        "Type 'string' is not assignable to type 'number'.",
      ],
      [
        "mutation({ input: { n: 'a' }, handler: () => 1 });",
        'n',
        "Type 'string' is not assignable to type 'TypedSchema'.",
      ],
      [
        'mutation({ input: { n: z.number() }, handler: (_ctx, { m }) => m });',
        'm',
        "Property 'm' does not exist on type '{ n: number; }'.",
      ],
      ...wrongArgs('convoy.query'),
    ],
  },
};

const snippets: Record<string, Snippet> = Object.fromEntries(
  Object.entries(PLACES).map(([place, { imports, lines }]) => [
    place.replaceAll(' ', '-'),
    { imports: REFERENCES + imports, code: lines.map(([call]) => call).join('\n') },
  ]),
);

describe.each(Object.entries(PLACES))('%s', (place, { lines }) => {
  let errors: readonly CompilerError[];
  beforeAll(async () => {
    errors = (await all).at(place);
  });

  test('each wrong call has one error', () => {
    expect(errors.map(({ at }) => at)).toEqual(lines.map(([, at]) => at));
  });

  test.each(lines.map((line, index) => [...line, index] as const))('%s', (_call, at, message, index) => {
    expect(errors[index]?.at).toBe(at);
    expect(errors[index]?.message.join('\n')).toContain(message);
  });
});

const all = compile(snippets).then((errors) => ({ at: (place: string) => errors[place.replaceAll(' ', '-')] ?? [] }));

test('TypeScript 7 says the same', async () => {
  const printed = await compileWithLatest(snippets);
  for (const { lines } of Object.values(PLACES)) for (const [, , message] of lines) expect(printed).toContain(message);
  expect(printed.match(/: error TS/g)).toHaveLength(Object.values(PLACES).flatMap(({ lines }) => lines).length);
});
