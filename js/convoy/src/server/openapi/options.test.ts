import { expect, it } from 'vitest';
import { openApiFunction } from './function.js';
import { openApiProblem } from './options.js';

it.each([
  [undefined],
  [true],
  [false],
  [{}],
  [{ title: 'Notes', version: '1.2.3', servers: ['https://api.example.com', '/'] }],
  [{ title: undefined, version: undefined, servers: undefined }],
  [{ servers: [] }],
])('takes %o', (value) => {
  expect(openApiProblem(value)).toBeNull();
});

const form = '`openapi` is true, false, or { title, version, servers };';
const list = "`openapi.servers` is a list of URLs, such as ['https://api.example.com'];";

it.each<[unknown, string]>([
  [null, `${form} null was given.`],
  [5, `${form} 5 was given.`],
  ['yes', `${form} "yes" was given.`],
  [[], `${form} an array was given.`],
  [new URL('https://example.com'), `${form} an instance of URL was given.`],
  [{ titel: 'Notes' }, '`openapi` has no option "titel". Did you mean title?'],
  [{ path: '/' }, '`openapi` has no option "path". The options are title, version, servers.'],
  [{ title: 5 }, '`openapi.title` is a text that is not empty; 5 was given.'],
  [{ version: '' }, '`openapi.version` is a text that is not empty; "" was given.'],
  [{ version: 2 }, '`openapi.version` is a text that is not empty; 2 was given.'],
  [{ servers: 'https://example.com' }, `${list} "https://example.com" was given.`],
  [{ servers: null }, `${list} null was given.`],
  [
    { servers: ['/', { url: '/' }] },
    "`openapi.servers[1]` is a URL, such as 'https://api.example.com'; an object was given.",
  ],
  [{ servers: [''] }, '`openapi.servers[0]` is a URL, such as \'https://api.example.com\'; "" was given.'],
])('does not take %o', (value, problem) => {
  expect(openApiProblem(value)).toBe(problem);
});

it('may be stated without members, and with undefined ones, which JSON leaves out', async () => {
  const { run } = openApiFunction([], { routes: [], hasContext: false, securitySchemes: undefined });
  const options = JSON.parse(JSON.stringify({ title: undefined, version: '2.0.0', servers: undefined }));
  expect(await run({}, { basePath: '/api', options })).toMatchObject({ info: { title: 'Convoy', version: '2.0.0' } });
});
