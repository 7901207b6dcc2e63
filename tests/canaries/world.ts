/** A server in production or development whose environment, rows, paths and credentials are canaries, and its log. */
import { type ChildProcess, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import pg from 'pg';
import { freshDatabaseUrl } from '../app.js';

const canary = (what: string): string => `canary${what}${randomBytes(6).toString('hex')}`;

export interface World {
  readonly baseUrl: string;
  readonly admin: pg.Client;
  /** What must not leave the server: the kind of canary → its text. */
  readonly inside: Readonly<Record<'env' | 'row' | 'path' | 'password' | 'role' | 'database', string>>;
  /** What clients send and nobody else may see. */
  readonly sent: Readonly<Record<'token' | 'cookie' | 'query', string>>;
  /** Everything that the server has printed. */
  log(): string;
  /** Makes the password of the server's role wrong, or right again, and ends its sessions. */
  lock(isLocked: boolean): Promise<void>;
  close(): Promise<void>;
}

export async function openWorld({ isDev }: { isDev: boolean }): Promise<World> {
  const server = new URL(freshDatabaseUrl());
  const [role, password, database] = [canary('role'), canary('password'), canary('database')];
  const inside = { env: canary('env'), row: canary('row'), path: `/${canary('path')}`, password, role, database };
  server.pathname = '/postgres';
  const setUp = new pg.Client({ connectionString: server.href });
  await setUp.connect();
  await setUp.query(`create role ${role} login password '${password}'`);
  await setUp.query(`create database ${database} owner ${role}`);
  server.pathname = `/${database}`;
  const admin = new pg.Client({ connectionString: server.href });
  await admin.connect();
  await admin.query(objects(role, inside.row));

  const own = new URL(server);
  [own.username, own.password] = [role, password];
  const child = await started(own.href, inside, isDev);
  await admin.query(`create function refuse() returns trigger language plpgsql as
    $$ begin raise exception 'refused: %', new.data; end $$;
    create trigger refuse before insert on watched for each row execute function refuse()`);
  return {
    baseUrl: `http://127.0.0.1:${child.port}`,
    admin,
    inside,
    sent: { token: canary('token'), cookie: canary('cookie'), query: canary('query') },
    log: child.log,
    async lock(isLocked) {
      await admin.query(`alter role ${role} password '${isLocked ? 'another' : password}'`);
      await admin.query('select pg_terminate_backend(pid) from pg_stat_activity where usename = $1', [role]);
    },
    async close() {
      const exited = once(child.process, 'exit');
      child.process.disconnect();
      await exited;
      await admin.end();
      await setUp.query(`drop database ${database} with (force)`);
      await setUp.query(`drop role ${role}`);
      await setUp.end();
    },
  };
}

async function started(databaseUrl: string, inside: World['inside'], isDev: boolean) {
  const process_: ChildProcess = fork(new URL('./server.mjs', import.meta.url), {
    silent: true,
    env: {
      ...process.env,
      NODE_ENV: isDev ? 'development' : 'production',
      DATABASE_URL: databaseUrl,
      CANARY_DEV: isDev ? '1' : '0',
      CANARY_ENV: inside.env,
      CANARY_PATH: inside.path,
    },
  });
  let log = '';
  for (const stream of [process_.stdout, process_.stderr]) stream?.on('data', (chunk) => (log += String(chunk)));
  const failed = once(process_, 'exit').then(() => Promise.reject(new Error(`the server has ended: ${log}`)));
  const [{ port }] = (await Promise.race([once(process_, 'message'), failed])) as [{ port: number }];
  failed.catch(() => {});
  return { process: process_, port, log: () => log };
}

/** What the statements in `causes.mjs` fail on. */
function objects(role: string, row: string): string {
  return `
    create table canaries (note text not null);
    insert into canaries values ('${row}');
    create table guarded (note text primary key, n integer constraint n_is_positive check (n >= 0));
    insert into guarded values ('${row}', 1);
    create table referring (note text references guarded);
    insert into referring values ('${row}');
    create table excluded (note text, span int4range, exclude using gist (span with &&));
    insert into excluded values ('${row}', '[1,3]');
    create domain short_text as text check (length(value) < 3);
    create type mood as enum ('glad');
    grant all on canaries, guarded, referring, excluded to ${role};
    create table forbidden as select note from canaries;`;
}
