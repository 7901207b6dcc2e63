import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { defineRef } from '../../schema/index.js';
import { type AnyConvoyFunction, action, createFunctionHelpers, internalQuery, mutation, query } from '../functions.js';
import { listRoutes } from '../routes.js';
import { openApiDocument } from './document.js';

// biome-ignore lint/suspicious/noExplicitAny: the parts of a document are read by their paths.
type Part = Record<string, any>;

const handler = () => null;
const options = { title: 'notes', version: '1.2.3', hasContext: false };
const documentOf = (functions: Record<string, AnyConvoyFunction>, changes: object = {}): Part =>
  openApiDocument(
    Object.entries(functions).map(([name, definition]) => ({ name, definition })),
    { ...options, ...changes },
  ) as Part;
const schemaOf = (operation: Part): Part => operation.requestBody.content['application/json'].schema;
const resultOf = (operation: Part): Part => operation.responses[200].content['application/json'].schema.properties.data;

describe('the document', () => {
  it('has an operation for each public function, under its path and name', () => {
    const document = documentOf({
      'notes.list': query({ handler }),
      'notes.add': mutation({ handler }),
      'mail.send': action({ handler }),
      ping: query({ handler }),
      'notes.secret': internalQuery({ handler }),
    });
    expect(Object.keys(document.paths)).toEqual([
      '/api/query/notes.list',
      '/api/mutation/notes.add',
      '/api/action/mail.send',
      '/api/query/ping',
    ]);
    const operations = Object.values<Part>(document.paths).map(({ post }) => post);
    expect(operations.map(({ operationId, tags }) => [operationId, ...tags])).toEqual([
      ['notes.list', 'notes'],
      ['notes.add', 'notes'],
      ['mail.send', 'mail'],
      ['ping', 'index'],
    ]);
    expect(JSON.stringify(document)).not.toContain('secret');
    expect(document.info).toEqual({ title: 'notes', version: '1.2.3' });
  });

  it('lists queries that answer GET by both methods, with the arguments as a parameter', () => {
    const input = { text: z.string() };
    const { get, post, ...others } = documentOf({ search: query({ input, http: 'GET', handler }) }).paths[
      '/api/query/search'
    ];
    expect(others).toEqual({});
    expect([post.operationId, get.operationId]).toEqual(['search', 'search:get']);
    expect(get).not.toHaveProperty('requestBody');
    const content = post.requestBody.content;
    expect(get.parameters).toEqual([
      { name: 'args', in: 'query', required: true, description: 'The arguments, as JSON.', content },
    ]);
    expect(get.responses[200].content).toEqual(post.responses[200].content);
    expect(get.responses[304]).toBeDefined();
    const optional = documentOf({ f: query({ http: 'GET', handler }) }).paths['/api/query/f'].get;
    expect(optional.parameters[0].required).toBe(false);
  });

  it('takes the base path, the servers and the context of the application', () => {
    const document = documentOf(
      { ping: query({ handler }) },
      { basePath: '/v1', servers: ['https://example.org'], hasContext: true },
    );
    expect(Object.keys(document.paths)).toEqual(['/v1/query/ping']);
    expect(document.servers).toEqual([{ url: 'https://example.org' }]);
    expect(document.security).toEqual([{}, { bearer: [] }]);
    expect(document.components.securitySchemes.bearer).toEqual({ type: 'http', scheme: 'bearer' });
  });

  it('states the security schemes of the application, each an alternative', () => {
    const securitySchemes = {
      bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' },
      apiKey: { type: 'apiKey', in: 'header', name: 'x-api-key' },
    };
    const { authed } = createFunctionHelpers();
    const functions = {
      open: query({ handler }),
      closed: authed.query({ http: 'GET', handler }),
      shut: authed.mutation({ handler }),
    };
    const stated = documentOf(functions, { hasContext: true, securitySchemes });
    expect(stated.components.securitySchemes).toEqual(securitySchemes);
    const signedIn = [{ bearer: [] }, { apiKey: [] }];
    expect(stated.security).toEqual([{}, ...signedIn]);
    const operations = Object.values<Part>(stated.paths).flatMap((each) => Object.values<Part>(each));
    expect(operations.map(({ operationId, security }) => [operationId, security])).toEqual([
      ['open', undefined],
      ['closed:get', signedIn],
      ['closed', signedIn],
      ['shut', signedIn],
    ]);
    // Nothing is known of the callers of an application that states nothing, or that it has no credentials.
    for (const nothing of [{ hasContext: true }, { hasContext: true, securitySchemes: {} }]) {
      const { paths } = documentOf(functions, nothing);
      expect(paths['/api/mutation/shut'].post).not.toHaveProperty('security');
    }
    const without = documentOf(functions, { hasContext: true, securitySchemes: {} });
    expect(without).not.toHaveProperty('security');
    expect(without.components).not.toHaveProperty('securitySchemes');
  });

  it('lists the errors with their statuses; only a mutation takes a key', () => {
    const { paths, components } = documentOf({
      read: query({ handler }),
      write: mutation({ handler }),
      direct: mutation({ handler, transaction: false }),
    });
    const [read, write, direct] = Object.values<Part>(paths).map(({ post }) => post) as [Part, Part, Part];
    expect(Object.keys(read.responses)).toEqual([
      '200',
      '400',
      '401',
      '403',
      '404',
      '413',
      '429',
      '500',
      '503',
      '504',
      'default',
    ]);
    expect(write.responses['409']).toEqual({ $ref: '#/components/responses/CONFLICT' });
    expect([read, write, direct].map(({ parameters = [] }) => parameters.map(({ name }: Part) => name))).toEqual([
      [],
      ['Idempotency-Key'],
      [],
    ]);
    expect(components.responses.CONFLICT.content['application/json'].schema).toEqual({
      $ref: '#/components/schemas/convoy.Error',
    });
  });
});

describe('the schemas', () => {
  const operationOf = (definition: AnyConvoyFunction): Part => {
    const document = documentOf({ 'notes.f': definition });
    return { ...document.paths[`/api/${definition.kind}/notes.f`].post, components: document.components.schemas };
  };

  it('are what a caller sends, and what it receives', () => {
    const operation = operationOf(
      query({
        input: {
          room: defineRef('rooms'),
          limit: z.number().int().max(50).default(20),
          since: z.iso
            .datetime()
            .transform((text) => new Date(text))
            .optional(),
        },
        returns: z.object({ at: z.date(), total: z.number().default(0) }),
        handler: () => ({ at: new Date() }),
      }),
    );
    expect(schemaOf(operation)).toEqual({
      type: 'object',
      properties: {
        room: { type: 'string', pattern: expect.stringContaining('^rooms:') },
        limit: { type: 'integer', maximum: 50, minimum: expect.any(Number), default: 20 },
        since: expect.objectContaining({ type: 'string', format: 'date-time' }),
      },
      required: ['room'],
    });
    expect(resultOf(operation)).toEqual({
      type: 'object',
      properties: { at: { type: 'string', format: 'date-time' }, total: { type: 'number', default: 0 } },
      required: ['at', 'total'],
    });
    expect(operation.requestBody.required).toBe(true);
  });

  it('allow an empty body where every argument may be left out, and any result without `returns`', () => {
    const operation = operationOf(query({ input: { limit: z.number().optional() }, handler }));
    expect(operation.requestBody.required).toBe(false);
    expect(operationOf(query({ handler })).requestBody.required).toBe(false);
    const either = z.union([z.object({ a: z.string() }), z.object({ b: z.string() })]);
    expect(operationOf(query({ input: either, handler })).requestBody.required).toBe(true);
    expect(resultOf(operation)).toEqual({});
  });

  it('take titles, descriptions and examples from `.meta()`', () => {
    const text = z.string().meta({ description: 'The text.', examples: ['Hello'] });
    const input = z.object({ text }).meta({ title: 'Search', description: 'Finds notes.' });
    const operation = operationOf(query({ input, handler }));
    expect(operation).toMatchObject({ summary: 'Search', description: 'Finds notes.' });
    expect(schemaOf(operation).properties.text).toEqual({
      type: 'string',
      description: 'The text.',
      examples: ['Hello'],
    });
  });

  it('with an id are components, with a suffix for arguments that differ from results', () => {
    const place = z.object({ city: z.string() }).meta({ id: 'Place' });
    const note = z.object({ body: z.string(), stars: z.number().default(0), place }).meta({ id: 'Note' });
    const operation = operationOf(mutation({ input: { note }, returns: z.array(note), handler: () => [] }));
    expect(schemaOf(operation).properties.note).toEqual({ $ref: '#/components/schemas/NoteInput' });
    expect(resultOf(operation).items).toEqual({ $ref: '#/components/schemas/Note' });
    expect(Object.keys(operation.components)).toEqual(['Note', 'NoteInput', 'Place', 'convoy.Error']);
    expect(operation.components.NoteInput.properties.place).toEqual({ $ref: '#/components/schemas/Place' });
    // Also without the other side, so that another function changes no name.
    const only = operationOf(mutation({ input: { note }, handler }));
    expect(Object.keys(only.components)).toEqual(['NoteInput', 'Place', 'convoy.Error']);
  });

  it('may refer to themselves, with and without an id', () => {
    const tree = z.object({
      name: z.string(),
      get children() {
        return z.array(tree);
      },
    });
    const named = z
      .object({
        name: z.string(),
        get next() {
          return named.optional();
        },
      })
      .meta({ id: 'Link' });
    const asRoot = operationOf(query({ input: tree, handler }));
    expect(schemaOf(asRoot)).toEqual({ $ref: '#/components/schemas/notes.f.input.self' });
    expect(asRoot.components['notes.f.input.self'].properties.children.items).toEqual(schemaOf(asRoot));
    const inside = operationOf(query({ input: { tree, named }, handler }));
    const { tree: inTree, named: inNamed } = schemaOf(inside).properties;
    expect(inTree).toEqual({ $ref: '#/components/schemas/notes.f.input.schema0' });
    expect(inside.components['notes.f.input.schema0'].properties.children.items).toEqual(inTree);
    expect(inNamed).toEqual({ $ref: '#/components/schemas/Link' });
    expect(inside.components.Link.properties.next).toEqual(inNamed);
  });

  it('say what JSON Schema can: strict objects are closed, other values are any', () => {
    const returns = z.object({ open: z.object({}), closed: z.strictObject({}), custom: z.custom(() => true) });
    const { properties } = resultOf(
      operationOf(query({ returns, handler: () => ({ open: {}, closed: {}, custom: 1 }) })),
    );
    expect(properties).toEqual({
      open: { type: 'object', properties: {} },
      closed: { type: 'object', properties: {}, additionalProperties: false },
      custom: {},
    });
  });

  it('are refused where two have the same id, with the function', () => {
    const one = z.object({ a: z.string() }).meta({ id: 'Same' });
    const other = z.object({ b: z.string() }).meta({ id: 'Same' });
    const apart = { f: query({ input: { one }, handler }), g: query({ input: { other }, handler }) };
    expect(() => documentOf(apart)).toThrow('g: Two schemas have the id "Same" in .meta(); give each its own.');
    const input = z.object({ n: z.number().default(0) }).meta({ id: 'Sum' });
    const taken = z.object({ c: z.string() }).meta({ id: 'SumInput' });
    expect(() => documentOf({ f: query({ input: { input, taken }, handler }) })).toThrow(
      'f: Two schemas are the component "SumInput"; give one another id in .meta().',
    );
    const together = { f: query({ input: { one, other }, handler }) };
    expect(() => documentOf(together)).toThrow(/^f: Duplicate schema id "Same"/);
  });
});

describe('HTTP routes', () => {
  const { route } = createFunctionHelpers();
  const answer = () => new Response();
  const pathsOf = (routes: object): Part =>
    documentOf({ 'notes.list': query({ handler }) }, { routes: listRoutes({ ...routes }) }).paths;

  it('have an operation each, with the parameters of their paths', () => {
    const paths = pathsOf({ hook: route.post('/hooks/:provider/*rest', answer), page: route.get('/', answer) });
    expect(Object.keys(paths)).toEqual(['/api/query/notes.list', '/', '/hooks/{provider}/{rest}']);
    const text = { type: 'string' };
    expect(paths['/hooks/{provider}/{rest}'].post).toMatchObject({
      operationId: 'route:hook',
      tags: ['routes'],
      parameters: [
        { name: 'provider', in: 'path', required: true, schema: text },
        { name: 'rest', in: 'path', required: true, description: 'The rest of the path.', schema: text },
      ],
      requestBody: { content: { '*/*': {} } },
    });
    expect(paths['/'].get).not.toHaveProperty('requestBody');
  });

  it('of one path are under one template, also if they name its parameters differently', () => {
    const paths = pathsOf({
      any: route.all('/files/:any', answer),
      read: route.get('/files/:id', answer),
      write: route.put('/files/:name', answer),
    });
    expect(Object.keys(paths)).toHaveLength(2);
    const operations = Object.entries<Part>(paths['/files/{id}']);
    expect(operations.map(([method, { operationId }]) => [method, operationId]).sort()).toEqual([
      ['delete', 'route:any:delete'],
      ['get', 'route:read'],
      ['patch', 'route:any:patch'],
      ['post', 'route:any:post'],
      ['put', 'route:write'],
    ]);
    for (const [, { parameters }] of operations) expect(parameters).toMatchObject([{ name: 'id' }]);
  });
});
