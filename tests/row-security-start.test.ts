/** A start under a role for which policies would not hold is refused, with what to do about it. */
import { randomUUID } from 'node:crypto';
import { makeQueryRef } from '@avvos/convoy/client';
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { StepResult } from './access/app.js';
import type { Step } from './access/program.js';
import { Roles } from './row-security/app.js';
import { createContext, functions, POLICIES, rlsOf, schema } from './row-security/program.js';

let roles: Roles;
let psql: pg.Client;
const started: Convoy[] = [];

beforeEach(async () => {
  roles = await Roles.create();
  const { databaseUrl } = roles;
  // Creates the tables, without row-level security.
  const convoy = await createConvoy({ schema, functions, createContext, databaseUrl });
  await convoy.close();
  psql = new pg.Client({ connectionString: databaseUrl });
  await psql.connect();
});
afterEach(async () => {
  await Promise.all(started.splice(0).map((convoy) => convoy.close()));
  await psql.end();
  await roles.drop();
});

interface StartOptions {
  readonly role?: string;
  readonly sync?: boolean | 'require';
}

async function start({ role = roles.client, sync = true }: StartOptions = {}): Promise<Convoy> {
  const source = { schema, functions, createContext, rls: rlsOf(role) };
  const convoy = await createConvoy({ ...source, databaseUrl: roles.databaseUrl, sync });
  started.push(convoy);
  return convoy;
}

/** The message of the refusal, with the names of the roles of this test. */
async function refusal(options: StartOptions = {}): Promise<string> {
  const error = await start(options).then(
    () => new Error('it has started'),
    (error: unknown) => error as Error,
  );
  const { client, login } = roles;
  return error.message.replaceAll(client, '<client>').replaceAll(login, '<login>');
}

/** Executes statements as the superuser, in the database of the test. */
async function asSuperuser(statement: string): Promise<void> {
  const url = new URL(process.env.CONVOY_TEST_DATABASE_URL ?? '');
  url.pathname = new URL(roles.databaseUrl).pathname;
  const admin = new pg.Client({ connectionString: url.href });
  await admin.connect();
  await admin.query(statement);
  await admin.end();
}

describe('a start is refused', () => {
  it('if the role does not exist', async () => {
    expect(await refusal({ role: 'no such role' })).toMatchInlineSnapshot(
      `"Row-level security does not hold under the role "no such role": it does not exist; run: create role "no such role" nologin; grant "no such role" to <login>"`,
    );
  });

  it('if the login may not switch to the role', async () => {
    await roles.run(`revoke ${roles.client} from ${roles.login}`);
    expect(await refusal()).toMatchInlineSnapshot(
      `"Row-level security does not hold under the role "<client>": <login> may not switch to it; run: grant <client> to <login>"`,
    );
  });

  it('if the role is a superuser or may bypass row-level security', async () => {
    await roles.run(`alter role ${roles.client} bypassrls`);
    expect(await refusal()).toMatchInlineSnapshot(
      `"Row-level security does not hold under the role "<client>": it has BYPASSRLS; run: alter role <client> nobypassrls"`,
    );
    await roles.run(`alter role ${roles.client} nobypassrls superuser`);
    expect(await refusal()).toMatch(/it is a superuser.*run: alter role <client> nosuperuser/);
    await roles.run(`alter role ${roles.client} nosuperuser`);
    await start();
  });

  it('if the role owns a table whose policies do not hold for its owner', async () => {
    await start();
    await psql.query(POLICIES(roles.client));
    await asSuperuser(`grant create on schema public to ${roles.client}; alter table tasks owner to ${roles.client}`);
    expect(await refusal({ sync: 'require' })).toMatchInlineSnapshot(
      `"Row-level security does not hold under the role "<client>": it owns the table tasks, whose policies do not hold for its owner; run: alter table tasks force row level security"`,
    );
    await asSuperuser('alter table tasks force row level security');
    await start({ sync: 'require' });
  });

  it('if the role is a member of the owner of such a table', async () => {
    const owner = `${roles.client}_owner`;
    await start();
    await psql.query(POLICIES(roles.client));
    await roles.run(`create role ${owner}; grant ${owner} to ${roles.client}`);
    try {
      await asSuperuser(`grant create on schema public to ${owner}; alter table tasks owner to ${owner}`);
      expect(await refusal({ sync: 'require' })).toMatchInlineSnapshot(
        `"Row-level security does not hold under the role "<client>": it owns the table tasks, whose policies do not hold for its owner; run: alter table tasks force row level security"`,
      );
    } finally {
      await asSuperuser(`drop owned by ${owner} cascade; drop role ${owner}`);
    }
  });

  it('if the role may not use the schema of the tables', async () => {
    await asSuperuser(`revoke usage on schema public from public; grant all on schema public to ${roles.login}`);
    expect(await refusal()).toMatchInlineSnapshot(
      `"Row-level security does not hold under the role "<client>": it may not use the schema public; run: grant usage on schema public to <client>"`,
    );
  });

  it('if the role lacks what it needs in the schema of Convoy, which `sync` grants', async () => {
    expect(await refusal({ sync: 'require' })).toMatchInlineSnapshot(
      `"Row-level security does not hold under the role "<client>": it may not use the schema _convoy, and it may not log its writes; run: grant usage on schema _convoy to <client>; grant insert on _convoy.changes to <client>"`,
    );
    await start();
    await start({ sync: 'require' });
  });
});

describe('a reload is refused', () => {
  it('if policies would not hold, and the old code stays', async () => {
    const convoy = await start();
    const rls = rlsOf('no such role');
    await expect(convoy.load({ schema, functions, createContext, rls })).rejects.toThrow('it does not exist');
    const list = makeQueryRef<{ step: Step }, StepResult>('read');
    const step = { do: 'get', args: [`tasks:${randomUUID()}`] };
    const context = { user: { id: 'ada' } };
    await expect(convoy.query(list, { step }, { context })).rejects.toMatchObject({ code: 'FORBIDDEN' });
    await psql.query(POLICIES(roles.client));
    expect(await convoy.query(list, { step }, { context })).toEqual({ ok: null });
  });
});

describe('a start warns', () => {
  it('of tables that the role may use and for which no policy holds', async () => {
    await psql.query(`grant select on tasks, members to ${roles.client}; alter table tasks enable row level security`);
    const { warnings } = (await start()).loaded;
    expect(warnings.map((each) => each.replaceAll(roles.client, '<client>'))).toMatchInlineSnapshot(`
      [
        "row-level security is off for members: every client may do there what is granted to the role <client>",
      ]
    `);
  });
});
