import { describe, expect, it } from 'vitest';
import { type DevFlags, devOptionsOf, layoutOf } from './options.js';

const flags: DevFlags = { root: '.', schema: 'convoy/schema.ts', watch: true, serve: true };

describe('the options of convoy dev', () => {
  it('come from the environment where no flag is given, and ignore empty variables', () => {
    expect(devOptionsOf(flags, {})).toEqual({
      databaseUrl: null,
      watch: true,
      serve: true,
      host: '127.0.0.1',
      port: 3000,
    });
    const env = { DATABASE_URL: 'postgres://x', PORT: '4000', HOST: '0.0.0.0' };
    expect(devOptionsOf(flags, env)).toMatchObject({ databaseUrl: 'postgres://x', port: 4000, host: '0.0.0.0' });
    expect(devOptionsOf({ ...flags, port: '0', host: '::1' }, env)).toMatchObject({ port: 0, host: '::1' });
    expect(devOptionsOf(flags, { DATABASE_URL: '', PORT: '', HOST: '' })).toEqual(devOptionsOf(flags, {}));
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
