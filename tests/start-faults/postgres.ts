/** A Postgres whose settings, certificates and rules of admission a test may change. */
import { execFile } from 'node:child_process';
import { chmod, chown, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import type { EmbeddedPostgres } from '../../js/convoy/dist/cli/postgres/index.js';
import { startOwnPostgres } from '../own-postgres.js';

const run = promisify(execFile);

export const PASSWORD = 's3cret';

export class FaultyPostgres {
  readonly #postgres: EmbeddedPostgres;
  readonly #admin: pg.Client;

  private constructor(postgres: EmbeddedPostgres, admin: pg.Client) {
    this.#postgres = postgres;
    this.#admin = admin;
  }

  static async start(): Promise<FaultyPostgres> {
    const postgres = await startOwnPostgres();
    const admin = new pg.Client({ connectionString: postgres.url });
    // A restart ends the connection.
    admin.on('error', () => {});
    await admin.connect();
    const started = new FaultyPostgres(postgres, admin);
    // The rights of all databases are as Postgres 15 and later create them, so that the same is printed for each version.
    await started.sqlIn('template1', 'alter schema public owner to pg_database_owner');
    await started.sqlIn('template1', 'revoke create on schema public from public');
    return started;
  }

  get port(): number {
    return this.#postgres.port;
  }

  /** The URL of a database, as a role of this server whose password is `PASSWORD`. */
  url(role: string, database: string, parameters = ''): string {
    return `postgres://${role}:${PASSWORD}@127.0.0.1:${this.port}/${database}${parameters}`;
  }

  async sql(...statements: readonly string[]): Promise<void> {
    for (const statement of statements) await this.#admin.query(statement);
  }

  async sqlIn(database: string, statement: string): Promise<void> {
    const url = Object.assign(new URL(this.#postgres.url), { pathname: `/${database}` });
    const client = new pg.Client({ connectionString: url.href });
    await client.connect();
    await client.query(statement);
    await client.end();
  }

  /** Runs `work` while these lines come first in `pg_hba.conf`. */
  async whileAdmitting(lines: readonly string[], work: () => Promise<void>): Promise<void> {
    const file = await this.#show('hba_file');
    const before = await readFile(file, 'utf8');
    try {
      await writeFile(file, `${lines.join('\n')}\n${before}`);
      await this.sql('select pg_reload_conf()');
      await work();
    } finally {
      await writeFile(file, before);
      await this.sql('select pg_reload_conf()');
    }
  }

  /**
   * Offers TLS from now on, with a certificate for `localhost`: of an authority of its own, whose file is returned, or
   * self-signed as openssl does it by default.
   */
  async offerTls({ selfSigned }: { readonly selfSigned: boolean }): Promise<string> {
    const folder = await this.#show('data_directory');
    const file = (name: string) => join(folder, name);
    const create = [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-days',
      '2',
    ];
    const authority = ['-keyout', file('ca.key'), '-out', file('ca.crt')];
    await run('openssl', [...create, '-subj', '/CN=An authority', ...authority]);
    const signed = selfSigned
      ? []
      : ['-CA', file('ca.crt'), '-CAkey', file('ca.key'), '-addext', 'basicConstraints=critical,CA:FALSE'];
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
    const own = ['-keyout', file('server.key'), '-out', file('server.crt')];
    await run('openssl', [...create, ...subject, ...signed, ...own]);
    const { uid, gid } = await stat(folder);
    for (const name of ['server.key', 'server.crt']) await chown(file(name), uid, gid);
    await chmod(file('server.key'), 0o600);
    await this.sql('alter system set ssl = on', 'select pg_reload_conf()');
    return file('ca.crt');
  }

  /** Restarts it as a standby without a primary. */
  async becomeStandby(): Promise<void> {
    const killed = this.#postgres.pid;
    await writeFile(join(await this.#show('data_directory'), 'standby.signal'), '');
    await this.#admin.query('checkpoint');
    process.kill(killed, 'SIGINT');
    for (;;) {
      const client = new pg.Client({ connectionString: this.#postgres.url });
      client.on('error', () => {});
      try {
        await client.connect();
        const { rows } = await client.query<{ standby: boolean }>('select pg_is_in_recovery() as standby');
        if (rows[0]?.standby) return;
      } catch {
        // It is between two lives.
      } finally {
        await client.end().catch(() => {});
      }
    }
  }

  async stop(): Promise<void> {
    await this.#admin.end();
    await this.#postgres.stop();
  }

  async #show(setting: 'hba_file' | 'data_directory'): Promise<string> {
    const { rows } = await this.#admin.query<Record<string, string>>(`show ${setting}`);
    return rows[0]?.[setting] ?? '';
  }
}
