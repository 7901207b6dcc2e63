import { describe, expect, it } from 'vitest';
import type { Diagnosis } from '../../server/database-tools.js';
import { nodeLine } from '../commands/doctor.js';
import { describeDatabase } from './doctor-database.js';

const healthy: Diagnosis = {
  version: '18.1',
  role: 'app',
  database: 'shop',
  maxConnections: 100,
  connections: 12,
  tls: true,
  pooler: false,
  hasLayout: true,
  standby: false,
  readOnly: false,
  roundTripMs: 0.4,
  missingPrivileges: [],
};

const faults = (change: Partial<Diagnosis>, host = 'db.example') =>
  describeDatabase({ ...healthy, ...change }, host).filter(({ level }) => level !== 'ok');

describe('the lines about a database', () => {
  it('are all ok for a usable one', () => {
    expect(faults({})).toEqual([]);
  });

  it.each([
    [{ pooler: true }, 'warn', 'pooler'],
    [{ tls: false }, 'warn', 'tls'],
    [{ connections: 81 }, 'warn', 'connections'],
    [{ hasLayout: false }, 'warn', 'schema'],
    [{ roundTripMs: 21 }, 'warn', 'latency'],
    [{ standby: true, readOnly: true }, 'fail', 'writes'],
    [{ readOnly: true }, 'fail', 'writes'],
  ])('name what is wrong with %j, and what to do', (change, level, name) => {
    expect(faults(change)).toEqual([{ name, level, message: expect.any(String), remedy: expect.any(String) }]);
  });

  it('do not ask for encryption on this machine', () => {
    for (const host of ['localhost', '127.0.0.1', '/run/postgresql', ''])
      expect(faults({ tls: false }, host)).toEqual([]);
  });

  it('have a statement for each missing privilege', () => {
    const missing = { what: 'create the schema _convoy', remedy: 'grant create on database shop to app' };
    expect(faults({ missingPrivileges: [missing] })).toEqual([
      {
        name: 'privileges',
        level: 'fail',
        message: 'the role app may not create the schema _convoy',
        remedy: 'grant create on database shop to app; -- as a superuser or the owner',
      },
    ]);
  });
});

it.each([
  ['18.20.0', 'fail'],
  ['20.18.3', 'fail'],
  ['20.19.0', 'warn'],
  ['22.1.0', 'ok'],
  ['26.0.0', 'ok'],
])('Node %s is %s', (version, level) => {
  expect(nodeLine(version).level).toBe(level);
});
