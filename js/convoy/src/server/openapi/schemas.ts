/**
 * Zod schemas as the schemas of an OpenAPI document (JSON Schema 2020-12). A schema with an `id` in its `.meta()` becomes
 * a component of the document, with that name; where what a caller sends differs from what it receives, the former has
 * the suffix `Input`. So the name of a component depends only on its schema.
 */

import * as z from 'zod';
import { defOf, refTarget, type ZodType } from '../../schema/index.js';

/** A JSON Schema. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** What a caller sends, or what it receives. */
export type Side = 'input' | 'output';

interface Converted {
  readonly root: JsonSchema;
  /** The name in `#/$defs/…` → schema. */
  readonly definitions: Readonly<Record<string, JsonSchema>>;
}

export class DocumentSchemas {
  readonly #components = new Map<string, JsonSchema>();
  /** The schemas with an `id`. */
  readonly #named = new Map<string, ZodType>();
  /** `id` → the name of its component in arguments. */
  readonly #inputNames = new Map<string, string>();

  /** Component name → schema, sorted by name. */
  get components(): Readonly<Record<string, JsonSchema>> {
    return Object.fromEntries([...this.#components].sort(([one], [other]) => (one < other ? -1 : 1)));
  }

  /** The JSON Schema of one side of `schema`. `owner` begins the names of components that have no `id`. */
  convert(schema: ZodType, side: Side, owner: string): JsonSchema {
    const { root, definitions } = this.#jsonSchemaOf(schema, side);
    const name = (key: string) =>
      this.#named.has(key) ? this.#nameOf(key, side) : `${owner}.${key.replace(/^_+/, '')}`;
    const self = `${owner}.self`;
    const resolve = (value: unknown) => withReferences(value, (key) => (key === null ? self : name(key))) as JsonSchema;
    for (const [key, definition] of Object.entries(definitions)) this.add(name(key), resolve(definition));
    if (!refersToRoot([root, definitions])) return resolve(root);
    this.add(self, resolve(root));
    return { $ref: referenceTo(self) };
  }

  /** Adds a component. Throws where another schema has its name. */
  add(name: string, schema: JsonSchema): void {
    const known = this.#components.get(name);
    if (known !== undefined && JSON.stringify(known) !== JSON.stringify(schema)) {
      throw new TypeError(`Two schemas are the component ${JSON.stringify(name)}; give one another id in .meta().`);
    }
    this.#components.set(name, schema);
  }

  /** The name of the component of a schema with an `id`. */
  #nameOf(id: string, side: Side): string {
    const schema = this.#named.get(id);
    if (side === 'output' || schema === undefined) return componentName(id);
    const known = this.#inputNames.get(id);
    if (known !== undefined) return known;
    const [input, output] = (['input', 'output'] as const).map((each) =>
      JSON.stringify(this.#jsonSchemaOf(schema, each)),
    );
    const name = componentName(input === output ? id : `${id}Input`);
    this.#inputNames.set(id, name);
    return name;
  }

  #jsonSchemaOf(schema: ZodType, side: Side): Converted {
    const {
      $schema: _,
      $defs = {},
      ...root
    } = z.toJSONSchema(schema, {
      io: side,
      unrepresentable: ({ zodSchema }) => (side === 'output' && defOf(zodSchema).type === 'date' ? DATE : 'any'),
      override: ({ zodSchema, jsonSchema }) => {
        this.#remember(zodSchema);
        // The format is Convoy's own mark; the pattern says the same to others.
        if (refTarget(zodSchema) !== null) delete jsonSchema.format;
        // Unknown keys are removed from results, and ignored in arguments.
        if (jsonSchema.additionalProperties === false && !isStrict(zodSchema)) delete jsonSchema.additionalProperties;
      },
    });
    return { root, definitions: $defs as Readonly<Record<string, JsonSchema>> };
  }

  #remember(schema: ZodType): void {
    const id = z.globalRegistry.get(schema)?.id;
    if (id === undefined) return;
    const known = this.#named.get(id);
    if (known !== undefined && known !== schema) {
      throw new TypeError(`Two schemas have the id ${JSON.stringify(id)} in .meta(); give each its own.`);
    }
    this.#named.set(id, schema);
  }
}

/** As JSON makes it. */
const DATE = { type: 'string', format: 'date-time' } as const;

/** Component names have letters, digits, `.`, `-` and `_`. */
export function componentName(text: string): string {
  return text.replace(/[^\w.-]/g, '_');
}

function referenceTo(component: string): string {
  return `#/components/schemas/${component}`;
}

function isStrict(schema: ZodType): boolean {
  const def = defOf(schema);
  return def.type === 'object' && def.catchall !== undefined && defOf(def.catchall).type === 'never';
}

const REFERENCE = /^#(?:\/\$defs\/(.*))?$/;

/** Names of definitions in references, `null` for the root itself, become names of components. */
function withReferences(value: unknown, name: (key: string | null) => string): unknown {
  if (Array.isArray(value)) return value.map((each) => withReferences(each, name));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => {
      const match = key === '$ref' && typeof inner === 'string' ? REFERENCE.exec(inner) : null;
      return [key, match === null ? withReferences(inner, name) : referenceTo(name(match[1] ?? null))];
    }),
  );
}

function refersToRoot(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return Object.entries(value).some(([key, inner]) => (key === '$ref' && inner === '#') || refersToRoot(inner));
}
