/** The application that every server in this folder serves, and requests to it. */
import { createFunctionHelpers, defineSchema, defineTable } from '@avvos/convoy';
import {
  type ConvoyClient,
  type ConvoyClientOptions,
  createConvoyClient,
  makeMutationRef,
  makeQueryRef,
  type RefFor,
} from '@avvos/convoy/client';
import { type Convoy, type ConvoyRequest, createConvoy } from '@avvos/convoy/node';
import { z } from 'zod';
import { freshDatabaseUrl } from '../app.js';
import { LiveSession, type SessionOptions } from '../live-wire.js';
import type { ExistingServer } from './servers.js';

/** The origin whose pages may call. */
export const PARTNER = 'https://partner.example';
/** The limit of a request body. */
export const BODY_BYTES = 8_000;

const schema = defineSchema({ notes: defineTable({ room: z.string(), text: z.string() }).index('by_room', ['room']) });

// biome-ignore lint/suspicious/noExplicitAny: the members of the context are those of `createContext` below.
const { query, mutation } = createFunctionHelpers<any>();

const functions = {
  notes: {
    list: query({
      input: { room: z.string() },
      handler: async (ctx, { room }): Promise<{ id: string; text: string }[]> =>
        ctx.db
          .query('notes')
          // biome-ignore lint/suspicious/noExplicitAny: as above.
          .withIndex('by_room', (q: any) => q.eq('room', room))
          .collect(),
    }),
    add: mutation({
      input: { room: z.string(), text: z.string() },
      handler: async (ctx, note): Promise<string> => ctx.db.insert('notes', note),
    }),
    /** The same text of this length in each of so many notes. */
    fill: mutation({
      input: { room: z.string(), notes: z.number(), length: z.number() },
      handler: async (ctx, { room, notes, length }): Promise<string[]> =>
        ctx.db.insertMany(
          'notes',
          Array.from({ length: notes }, () => ({ room, text: 'x'.repeat(length) })),
        ),
    }),
  },
  request: query({ handler: async (ctx): Promise<ConvoyRequest | null> => ctx.request ?? null }),
  broken: query({
    handler: async (): Promise<null> => {
      throw new Error('postgres://root:hunter2@db/secret');
    },
  }),
};

export const api = {
  list: makeQueryRef('notes.list') as RefFor<'notes.list', typeof functions.notes.list>,
  add: makeMutationRef('notes.add') as RefFor<'notes.add', typeof functions.notes.add>,
  fill: makeMutationRef('notes.fill') as RefFor<'notes.fill', typeof functions.notes.fill>,
  request: makeQueryRef('request') as RefFor<'request', typeof functions.request>,
};

/** The application behind a server. */
export interface Application {
  readonly convoy: Convoy;
  readonly baseUrl: string;
  /** A room that no other test uses. */
  room(): string;
  fetch(path: string, init?: RequestInit): Promise<Response>;
  /** Posts JSON; returns the status and the body. */
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<{ status: number; answer: Answer }>;
  client(options?: ConvoyClientOptions): ConvoyClient;
  session(options: Omit<SessionOptions, 'baseUrl' | 'token'>): Promise<LiveSession>;
  close(): Promise<void>;
}

interface Answer {
  readonly ok: boolean;
  readonly data?: unknown;
  readonly error?: { readonly code: string; readonly message: string; readonly details?: unknown };
}

export async function startApplication(server: ExistingServer): Promise<Application> {
  const convoy = await createConvoy({
    schema,
    functions,
    databaseUrl: freshDatabaseUrl(),
    createDatabase: true,
    cors: { origins: [PARTNER] },
    limits: { bodyBytes: BODY_BYTES, ...server.limits },
    // Only for the calls that ask for it: callers of a session are compared by their context.
    createContext: (request, base) => ({ ...base, ...(request.headers['x-name'] ? { request } : {}) }),
  });
  const { baseUrl, fetch: given, close } = await server.start(convoy);
  const send = given ?? ((url: string, init?: RequestInit) => fetch(url, init));
  const clients: ConvoyClient[] = [];
  let rooms = 0;
  return {
    convoy,
    baseUrl,
    room: () => `room ${rooms++}`,
    fetch: (path, init) => send(baseUrl + path, init),
    async post(path, body, headers = {}) {
      const response = await send(`${baseUrl}/api/${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      });
      return { status: response.status, answer: (await response.json()) as Answer };
    },
    client(options = {}) {
      const client = createConvoyClient({
        baseUrl,
        // `fetch` of the client's options has its own type of input.
        ...(given === undefined
          ? {}
          : { fetch: ((url: string, init: RequestInit) => given(url, init)) as typeof fetch }),
        ...options,
      });
      clients.push(client);
      return client;
    },
    session: (options) => LiveSession.open({ ...options, baseUrl, token: 'none', fetch: send }),
    async close() {
      for (const client of clients) client.close();
      await convoy.close();
      await close();
    },
  };
}
