/** The HTTP routes of a program in its OpenAPI document. What they take and answer is up to their handlers. */

import type { NamedRoute } from '../routes.js';
import type { JsonSchema } from './schemas.js';

/** The tag of all routes. */
export const ROUTES_TAG = 'routes';

/** The methods that `ALL` stands for, as far as generated clients send them. */
const ALL = ['get', 'put', 'post', 'delete', 'patch'] as const;

const WITH_BODY: ReadonlySet<string> = new Set(['put', 'post', 'patch']);

/** Path → methods of the routes. */
export function routePaths(routes: readonly NamedRoute[]): JsonSchema {
  const paths = new Map<string, { readonly template: string; readonly operations: Record<string, JsonSchema> }>();
  // A route of one method comes before one of all.
  for (const each of [
    ...routes.filter(({ route }) => !isForAll(route)),
    ...routes.filter(({ route }) => isForAll(route)),
  ]) {
    const { path, method } = each.route;
    // Routes of one path may name its parameters differently, but templates of OpenAPI may not.
    const shape = path.replaceAll(/[:*]\w+/g, '{}');
    const known = paths.get(shape) ?? { template: templateOf(path), operations: {} };
    paths.set(shape, known);
    for (const name of isForAll(each.route) ? ALL : [method.toLowerCase()]) {
      known.operations[name] ??= operation(each, name, known.template);
    }
  }
  const listed = [...paths.values()].sort((one, other) => (one.template < other.template ? -1 : 1));
  return Object.fromEntries(listed.map(({ template, operations }) => [template, operations]));
}

function isForAll({ method }: NamedRoute['route']): boolean {
  return method === 'ALL';
}

/** `/webhooks/:id` as `/webhooks/{id}`. */
function templateOf(path: string): string {
  return path.replaceAll(/[:*](\w+)/g, '{$1}');
}

function operation({ name, route }: NamedRoute, method: string, template: string): JsonSchema {
  const names = [...template.matchAll(/\{(\w+)\}/g)].map(([, each]) => each as string);
  const [rest] = /(?<=\*)\w+$/.exec(route.path) ?? [];
  const parameters = names.map((each, at) => ({
    name: each,
    in: 'path',
    required: true,
    ...(rest !== undefined && at === names.length - 1 ? { description: 'The rest of the path.' } : {}),
    schema: { type: 'string' },
  }));
  return {
    // No name of a function has a colon.
    operationId: isForAll(route) ? `route:${name}:${method}` : `route:${name}`,
    tags: [ROUTES_TAG],
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(WITH_BODY.has(method) ? { requestBody: { content: { '*/*': {} } } } : {}),
    responses: { default: { description: 'The response of the handler.' } },
  };
}
