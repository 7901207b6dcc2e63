/** The lines of `convoy doctor` about the database. */
import type { Diagnosis } from '../../server/database-tools.js';
import { type DoctorLine, fail, ok, warn } from './doctor-line.js';

/** The part of the connections in use from which new processes may find none. */
const CROWDED = 0.8;
/** A database in the same data centre answers faster. */
const SLOW_MS = 20;

/** Pure: the diagnosis as lines. `host` is that of `DATABASE_URL`. */
export function describeDatabase(found: Diagnosis, host: string): DoctorLine[] {
  const { version, role, database, connections, maxConnections, roundTripMs } = found;
  const connected = `Postgres ${version}, database ${database}, role ${role}`;
  return [
    ok('connection', `${connected}, ${roundTripMs} ms for a round trip`),
    ...(roundTripMs > SLOW_MS
      ? [warn('latency', `a round trip takes ${roundTripMs} ms`, 'run Convoy in the region of the database')]
      : []),
    poolerLine(found),
    tlsLine(found, host),
    connections > CROWDED * maxConnections
      ? warn(
          'connections',
          `${connections} of ${maxConnections} connections are in use`,
          'close unused ones, raise max_connections, or lower poolSize',
        )
      : ok('connections', `${connections} of ${maxConnections} are in use`),
    ...writable(found),
    ...privileges(found),
    found.hasLayout
      ? ok('schema', 'the schema _convoy exists; convoy check compares the rest')
      : warn('schema', 'the schema _convoy does not exist yet', 'npx convoy migrate'),
  ];
}

function poolerLine({ pooler }: Diagnosis): DoctorLine {
  if (!pooler) return ok('pooler', 'sessions belong to this connection');
  return warn(
    'pooler',
    'a pooler in transaction mode (PgBouncer) is between Convoy and Postgres: each statement needs a transaction, and ' +
      'other processes are noticed only by polling',
    'use the direct address of the database in DATABASE_URL, or session mode of the pooler',
  );
}

function tlsLine({ tls }: Diagnosis, host: string): DoctorLine {
  if (tls) return ok('tls', 'the connection is encrypted');
  if (isLocal(host)) return ok('tls', 'the connection is not encrypted, and stays on this machine');
  return warn('tls', `the connection to ${host} is not encrypted`, 'add sslmode=require to DATABASE_URL');
}

function isLocal(host: string): boolean {
  return host === '' || host === 'localhost' || host === '[::1]' || host.startsWith('127.') || host.startsWith('/');
}

function writable({ standby, readOnly, role, database }: Diagnosis): DoctorLine[] {
  if (standby)
    return [fail('writes', 'this Postgres is a standby, which only reads', 'name the primary in DATABASE_URL')];
  if (!readOnly) return [];
  const remedy = `alter role "${role}" in database "${database}" reset default_transaction_read_only`;
  return [fail('writes', 'sessions of this role are read-only (default_transaction_read_only)', remedy)];
}

function privileges({ missingPrivileges, role }: Diagnosis): DoctorLine[] {
  if (missingPrivileges.length === 0) return [ok('privileges', `the role ${role} has all that Convoy needs`)];
  return missingPrivileges.map(({ what, remedy }) =>
    fail('privileges', `the role ${role} may not ${what}`, `${remedy}; -- as a superuser or the owner`),
  );
}
