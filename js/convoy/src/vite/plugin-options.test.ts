import { expect, test } from 'vitest';
import { type ConvoyPluginOptions, convoy } from './index.js';

const given = (options: unknown) => () => convoy(options as ConvoyPluginOptions);

test.each([
  [{ prot: 1 }, 'convoy({ … }) of @avvos/convoy/vite has no option "prot". Did you mean port?'],
  [{ url: 1 }, 'convoy({ … }) of @avvos/convoy/vite has no option "url". The options are root, schema, port, verbose.'],
  [null, 'convoy({ … }) of @avvos/convoy/vite takes an object of options, not null.'],
  ['x', 'convoy({ … }) of @avvos/convoy/vite takes an object of options, not a text.'],
  [{ port: '5x' }, 'convoy({ … }) of @avvos/convoy/vite: port must be a number from 0 to 65535, not "5x".'],
  [{ port: 65_536 }, 'convoy({ … }) of @avvos/convoy/vite: port must be a number from 0 to 65535, not 65536.'],
  [
    { root: new URL('file:///a') },
    'convoy({ … }) of @avvos/convoy/vite: root must be the path of a folder, not an object.',
  ],
  [{ schema: '' }, 'convoy({ … }) of @avvos/convoy/vite: schema must be the path of a file, not "".'],
  [{ verbose: 1 }, 'convoy({ … }) of @avvos/convoy/vite: verbose must be true or false, not 1.'],
])('the plugin refuses %j', (options, message) => {
  expect(given(options)).toThrow(new TypeError(message));
});

test.each([undefined, {}, { root: '..', schema: 'schema.ts', port: 0, verbose: false }, { port: undefined }])(
  'the plugin accepts %j',
  (options) => {
    expect(given(options)).not.toThrow();
  },
);
