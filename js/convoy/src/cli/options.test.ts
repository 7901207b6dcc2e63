import { describe, expect, it } from 'vitest';
import { type DevFlags, devOptionsOf, layoutOf, startOptionsOf } from './options.js';

const flags: DevFlags = { root: '.', schema: 'convoy/schema.ts', watch: true, serve: true };

describe('the options of convoy dev', () => {
  it('come from the environment where no flag is given, and ignore empty variables', () => {
    expect(devOptionsOf(flags, {})).toEqual({
      databaseUrl: null,
      watch: true,
      serve: true,
      types: true,
      host: '127.0.0.1',
      port: 3000,
      prometheus: undefined,
      command: null,
    });
    const env = { DATABASE_URL: 'postgres://x', PORT: '4000', HOST: '0.0.0.0' };
    expect(devOptionsOf(flags, env)).toMatchObject({ databaseUrl: 'postgres://x', port: 4000, host: '0.0.0.0' });
    expect(devOptionsOf({ ...flags, port: '0', host: '::1' }, env)).toMatchObject({ port: 0, host: '::1' });
    expect(devOptionsOf(flags, { DATABASE_URL: '', PORT: '', HOST: '' })).toEqual(devOptionsOf(flags, {}));
  });

  it('do not serve where a command runs another server', () => {
    const command = ['next', 'dev'];
    expect(devOptionsOf({ ...flags, command }, {})).toMatchObject({ serve: false, watch: true, command });
    expect(devOptionsOf({ ...flags, command: [] }, {})).toMatchObject({ serve: true, command: null });
    expect(() => devOptionsOf({ ...flags, command, once: true }, {})).toThrow(/^--once updates and exits/);
  });

  it('neither serve nor watch with --once', () => {
    expect(devOptionsOf({ ...flags, once: true }, {})).toMatchObject({ watch: false, serve: false });
  });

  it.each(['65536', '-1', 'http', '3e3', ' '])('refuse the port %j, naming its source', (port) => {
    expect(() => devOptionsOf({ ...flags, port }, {})).toThrow(/^--port is .*0 to 65535/);
    expect(() => devOptionsOf(flags, { PORT: port })).toThrow(/^PORT is /);
  });
});

describe('the layout of a project', () => {
  it('is relative to the root, with the schema that the flag names', () => {
    const layout = layoutOf({ root: 'app', schema: '../shared/schema.ts' }, '/projects');
    expect(layout).toMatchObject({
      root: '/projects/app',
      schemaFile: '/projects/shared/schema.ts',
      functionsFolder: '/projects/app/convoy/functions',
      stateFolder: '/projects/app/.convoy',
    });
  });
});

describe('the options of convoy start', () => {
  const start = { root: '.', schema: 'convoy/schema.ts' };
  const DATABASE_URL = 'postgres://x';

  it('come from the environment, and listen on all addresses', () => {
    expect(startOptionsOf(start, { DATABASE_URL })).toEqual({
      databaseUrl: DATABASE_URL,
      host: '0.0.0.0',
      port: 3000,
      workers: undefined,
      poolSize: undefined,
      basePath: undefined,
      trustProxy: undefined,
      corsOrigins: undefined,
      prometheus: undefined,
      logFormat: undefined,
    });
    const env = {
      DATABASE_URL,
      CONVOY_TRUST_PROXY: '1',
      CONVOY_POOL_SIZE: '7',
      CONVOY_CORS_ORIGINS: 'https://a, https://b',
    };
    expect(startOptionsOf(start, env)).toMatchObject({
      trustProxy: true,
      poolSize: 7,
      corsOrigins: ['https://a', 'https://b'],
    });
  });

  it.each([
    ['0', false],
    ['true', true],
    ['2', 2],
    ['10.0.0.0/8, fd00::/8', ['10.0.0.0/8', 'fd00::/8']],
  ])('take the proxies %s', (text, trustProxy) => {
    expect(startOptionsOf(start, { DATABASE_URL, CONVOY_TRUST_PROXY: text })).toMatchObject({ trustProxy });
  });

  it('name a variable that says no proxies', () => {
    expect(() => startOptionsOf(start, { DATABASE_URL, CONVOY_TRUST_PROXY: 'yes' })).toThrow(
      /CONVOY_TRUST_PROXY is "yes"/,
    );
  });

  it('prefer flags', () => {
    const env = { DATABASE_URL, PORT: '1', HOST: '::1', CONVOY_WORKERS: '2' };
    const flags = { ...start, port: '4', host: '::', workers: '8' };
    expect(startOptionsOf(flags, env)).toMatchObject({ port: 4, host: '::', workers: 8 });
  });

  it('take the address of Prometheus', () => {
    const prometheus = { host: '127.0.0.1', port: 9464 };
    expect(startOptionsOf({ ...start, metrics: '9464' }, { DATABASE_URL })).toMatchObject({ prometheus });
    expect(devOptionsOf({ ...flags, metrics: '127.0.0.1:9464' }, {})).toMatchObject({ prometheus });
    expect(() => devOptionsOf({ ...flags, metrics: 'all' }, {})).toThrow(/^--metrics is not a port/);
  });

  it('take the form of the log', () => {
    const env = { DATABASE_URL, CONVOY_LOG_FORMAT: 'json' };
    expect(startOptionsOf(start, env)).toMatchObject({ logFormat: 'json' });
    expect(startOptionsOf({ ...start, logFormat: 'pretty' }, env)).toMatchObject({ logFormat: 'pretty' });
    expect(() => startOptionsOf({ ...start, logFormat: 'xml' }, env)).toThrow(
      '--log-format is "xml": give pretty or json.',
    );
    expect(() => startOptionsOf(start, { ...env, CONVOY_LOG_FORMAT: 'x' })).toThrow(/^CONVOY_LOG_FORMAT is "x"/);
  });

  it('need a database', () => {
    expect(() => startOptionsOf(start, {})).toThrow(/DATABASE_URL is not set/);
  });
});
