/**
 * A server with the tables, policies and functions of `program.ts`. Its login owns the tables and is no superuser; clients
 * run under a role of their own.
 */
import { randomUUID } from 'node:crypto';
import { makeMutationRef } from '@avvos/convoy/client';
import { type Convoy, createConvoy, type EngineOptions } from '@avvos/convoy/node';
import pg from 'pg';
import type { StepResult } from '../access/app.js';
import type { Step } from '../access/program.js';
import { freshDatabaseUrl } from '../app.js';
import { createContext, functions, POLICIES, rlsOf, schema } from './program.js';

type Name = keyof typeof functions;

export interface RowSecurityApp {
  readonly convoy: Convoy;
  readonly baseUrl: string;
  readonly databaseUrl: string;
  /** A connection of the login. */
  readonly psql: pg.Client;
  readonly role: string;
  /** Calls a function as a user over the network; `null` is an anonymous caller. Returns the data or the error. */
  call(user: string | null, name: Name, args: object, headers?: Record<string, string>): Promise<CallResult>;
  /** Runs a step by a function, as a user. */
  as(user: string | null, name: Name, step: Step): Promise<StepResult>;
  /** Runs steps in one call, as a user. */
  all(
    user: string | null,
    name: 'readAll' | 'writeAll' | 'actAll' | 'readBatch',
    steps: readonly Step[],
  ): Promise<StepResult[]>;
  /** Runs a step in a trusted call without a context. */
  trusted(step: Step): Promise<StepResult>;
  close(): Promise<void>;
}

export interface CallResult {
  // biome-ignore lint/suspicious/noExplicitAny: the result of any function.
  readonly data?: any;
  readonly error?: { readonly code: string; readonly message: string; readonly details?: unknown };
}

/** Two roles for one test: a login without rights, and one for clients. */
export class Roles {
  readonly login = `login_${randomUUID().replaceAll('-', '')}`;
  readonly client = `client_${randomUUID().replaceAll('-', '')}`;
  /** The URL of a database that the login owns. */
  readonly databaseUrl: string;
  readonly #admin: pg.Client;
  readonly #database: string;

  private constructor(admin: pg.Client, url: URL) {
    this.#admin = admin;
    this.#database = url.pathname.slice(1);
    url.username = this.login;
    url.password = 'login';
    this.databaseUrl = url.href;
  }

  static async create(): Promise<Roles> {
    const admin = new pg.Client({ connectionString: process.env.CONVOY_TEST_DATABASE_URL });
    await admin.connect();
    const roles = new Roles(admin, new URL(freshDatabaseUrl()));
    await admin.query(`create role ${roles.login} login password 'login'`);
    await admin.query(`create role ${roles.client} nologin; grant ${roles.client} to ${roles.login}`);
    await admin.query(`create database ${roles.#database} owner ${roles.login}`);
    return roles;
  }

  /** Executes a statement as the superuser, in no particular database. */
  async run(statement: string): Promise<void> {
    await this.#admin.query(statement);
  }

  async drop(): Promise<void> {
    await this.#admin.query(`drop database if exists ${this.#database} with (force)`);
    await this.#admin.query(`drop role if exists ${this.client}; drop role if exists ${this.login}`);
    await this.#admin.end();
  }
}

export async function openRowSecurityApp(options: Partial<EngineOptions> = {}): Promise<RowSecurityApp> {
  const roles = await Roles.create();
  const { databaseUrl, client: role } = roles;
  const rls = rlsOf(role);
  const source = { schema, functions, createContext, rls };
  const convoy = await createConvoy({ ...source, databaseUrl, ...options });
  const psql = new pg.Client({ connectionString: databaseUrl });
  await psql.connect();
  await psql.query(POLICIES(role));
  // Reads the policies.
  await convoy.load(source);
  const { port } = await convoy.listen({ port: 0 });
  const baseUrl = `http://127.0.0.1:${port}`;
  const call: RowSecurityApp['call'] = async (user, name, args, headers = {}) => {
    const response = await fetch(`${baseUrl}/api/${functions[name].kind}/${name}`, {
      method: 'POST',
      headers: { ...(user === null ? {} : { authorization: `Bearer ${user}` }), ...headers },
      body: JSON.stringify(args),
    });
    const { data, error } = (await response.json()) as CallResult;
    return error === undefined ? { data } : { error };
  };
  return {
    convoy,
    baseUrl,
    databaseUrl,
    psql,
    role,
    call,
    as: async (user, name, step) => {
      const { data, error } = await call(user, name, { step });
      return error === undefined ? data : { error };
    },
    all: async (user, name, steps) => {
      const { data, error } = await call(user, name, { steps });
      if (error !== undefined) throw new Error(`${error.code}: ${error.message}`);
      return data;
    },
    trusted: (step) => convoy.mutation(makeMutationRef<{ step: Step }, StepResult>('write'), { step }),
    async close() {
      await psql.end();
      await convoy.close();
      await roles.drop();
    },
  };
}
