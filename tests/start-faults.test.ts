/**
 * The output where a server cannot start: what happened, why, and the command that mends it, for each class of
 * fault and each way to start.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { freePort } from './free-port.js';
import { startOldPostgres } from './start-faults/old-postgres.js';
import { findPgBouncer, PgBouncer } from './start-faults/pgbouncer.js';
import { FaultyPostgres } from './start-faults/postgres.js';
import { type Attempt, Startable, snapshots } from './start-faults/ways.js';

let postgres: FaultyPostgres;
let project: Startable;
beforeAll(async () => {
  [postgres, project] = await Promise.all([FaultyPostgres.start(), Startable.create().then((each) => each.build())]);
  await postgres.sql(
    `create role app login password 's3cret'`,
    'create database shop owner app',
    `create role reader login password 's3cret'`,
  );
});
afterAll(async () => {
  await project?.app.remove();
  await postgres?.stop();
});

async function expectPrinted(name: string, databaseUrl: string, attempt: Attempt = {}): Promise<void> {
  const hide = { [String(postgres.port)]: '<port>', ...attempt.hide };
  const printed = await project.attempt({ ...attempt, env: { DATABASE_URL: databaseUrl, ...attempt.env }, hide });
  await expect(printed).toMatchFileSnapshot(join(snapshots, `${name}.txt`));
}

describe('the network', () => {
  test('refuses the connection', async () => {
    const port = await freePort();
    await expectPrinted('connection-refused', `postgres://app:s3cret@127.0.0.1:${port}/shop`, {
      hide: { [port]: '<port>' },
    });
  });

  test('does not know the host', () => expectPrinted('unknown-host', 'postgres://app:s3cret@db.invalid/shop'));
});

describe('TLS', () => {
  test('is required of a server that does not offer it', () =>
    expectPrinted('tls-not-offered', postgres.url('app', 'shop', '?sslmode=require')));

  test('is required by a server that the URL does not let have it', () =>
    postgres.whileAdmitting(['hostnossl all all 127.0.0.1/32 reject'], () =>
      expectPrinted('tls-demanded', postgres.url('app', 'shop', '?sslmode=disable')),
    ));

  test('has a certificate that is self-signed', async () => {
    await postgres.offerTls({ selfSigned: true });
    await expectPrinted('tls-self-signed', verified('localhost'));
  });

  test('has a certificate of an unknown authority, or for another host', async () => {
    const authority = await postgres.offerTls({ selfSigned: false });
    await expectPrinted('tls-untrusted', verified('localhost'));
    await expectPrinted('tls-other-host', `${verified('127.0.0.1')}&sslrootcert=${authority}`);
  });

  const verified = (host: string) => postgres.url('app', 'shop', '?sslmode=verify-full').replace('127.0.0.1', host);
});

describe('the login', () => {
  test('has a wrong password', () =>
    expectPrinted('wrong-password', postgres.url('app', 'shop').replace('s3cret', 'guess')));

  test('has an unknown role', () => expectPrinted('unknown-role', postgres.url('nemo', 'shop')));

  test('is not admitted by pg_hba.conf', () =>
    postgres.whileAdmitting(['host all app 127.0.0.1/32 reject'], () =>
      expectPrinted('not-admitted', postgres.url('app', 'shop')),
    ));

  test('names a database that does not exist, and may not be created', () =>
    expectPrinted('no-database', postgres.url('app', 'store')));
});

describe('the role', () => {
  test('lacks a privilege', () => expectPrinted('no-right', postgres.url('reader', 'shop')));

  test('only reads', async () => {
    await postgres.sql('alter role app set default_transaction_read_only = on');
    onTestFinished(() => postgres.sql('alter role app reset default_transaction_read_only'));
    await expectPrinted('read-only', postgres.url('app', 'shop'));
  });
});

describe('a migrated database', () => {
  const only = ['convoy start', 'createConvoy'] as const;
  beforeAll(async () => {
    await postgres.sql('create database migrated owner app', `create role clerk login password 's3cret'`);
    const { code } = await project.app.run(['migrate'], { env: { DATABASE_URL: postgres.url('app', 'migrated') } });
    expect(code).toBe(0);
  });

  test('has a role that may not use the schema _convoy', () =>
    expectPrinted('no-right-to-schema', postgres.url('clerk', 'migrated'), { only }));

  test('has a role that may not use the tables', async () => {
    const grants = [
      'grant usage on schema _convoy to clerk',
      'grant select, insert, update, delete on all tables in schema _convoy to clerk',
    ];
    for (const grant of grants) await postgres.sqlIn('migrated', grant);
    const env = { DATABASE_URL: postgres.url('clerk', 'migrated') };
    const { server } = await project.app.serve({ env });
    await server.logs(
      /no right to select, insert, update, delete in table notes; as its owner run: grant select, insert, update, delete on table public\.notes to clerk/,
    );
  });

  test('is only read', async () => {
    await postgres.sql('alter role app set default_transaction_read_only = on');
    onTestFinished(() => postgres.sql('alter role app reset default_transaction_read_only'));
    await expectPrinted('read-only-migrated', postgres.url('app', 'migrated'));
  });
});

describe('a pooler in transaction mode', () => {
  test('is named in the log, and does not prevent the start', async ({ skip }) => {
    const program = findPgBouncer();
    if (program === null) return skip('needs PgBouncer, which the test runner offers to install');
    const pooler = await PgBouncer.start(program, postgres.url('app', 'migrated'));
    onTestFinished(() => pooler.stop());
    const { server } = await project.app.serve({ env: { DATABASE_URL: pooler.url } });
    const [line] = await server.logs(/the database is reached through a pooler.*/);
    await expect(`${line}\n`).toMatchFileSnapshot(join(snapshots, 'pooler.txt'));
  });
});

describe('the server', () => {
  test('is an old Postgres', async () => {
    const { server, port } = await startOldPostgres();
    onTestFinished(() => void server.close());
    await expectPrinted('old-postgres', `postgres://app@127.0.0.1:${port}/shop`, { hide: { [port]: '<port>' } });
  });

  test('is a standby', async () => {
    const standby = await FaultyPostgres.start();
    onTestFinished(() => standby.stop());
    await standby.sql(`create role app login password 's3cret'`, 'create database shop owner app');
    await standby.becomeStandby();
    await expectPrinted('standby', standby.url('app', 'shop'), { hide: { [standby.port]: '<port>' } });
  });
});
