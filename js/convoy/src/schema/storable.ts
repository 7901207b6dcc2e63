/**
 * Checks that the values of a table's Zod schema can be stored as JSON and read back unchanged.
 *
 * The rule behind every problem: parsing an output must return it. This excludes schemas that change values
 * (transforms, codecs, most pipes), types that JSON does not have, and async checks. Codecs and transforms are allowed
 * in a function's `input` and `returns`.
 */

import type * as z from 'zod';
import { unstorableText } from '../values/index.js';
import type { SchemaProblem } from './problems.js';
import { refTarget } from './refs.js';
import { defOf, innerOf, isZodType, type ZodDef, type ZodType, zod3TypeName } from './zod.js';

/** The result of a check: problems, and every table that a `defineRef` references. */
export interface Findings {
  readonly problems: SchemaProblem[];
  readonly refs: { readonly path: string; readonly table: string }[];
}

/** Checks `schema`; `path` is its location. */
export function inspectStorable(schema: unknown, path: string): Findings {
  const walk = new Walk();
  walk.visit(schema, path);
  return { problems: walk.problems, refs: walk.refs };
}

const NOT_STORABLE: Partial<Record<ZodDef['type'], string>> = {
  date: 'Date is not JSON; store a number (date.getTime()) or z.iso.datetime()',
  bigint: 'bigint is not JSON; store a string, or a number below 2^53',
  map: 'Map is not JSON; store z.record(…)',
  set: 'Set is not JSON; store z.array(…)',
  symbol: 'a symbol is not JSON',
  function: 'a function is not JSON',
  promise: 'a Promise is not JSON; store its value',
  file: 'a File is not JSON',
  nan: 'NaN is not JSON; store null',
  transform: 'a transform changes the value each time it is parsed; transform in the function, before writing',
  success: 'z.success() changes the value; store the checked value itself',
};

const PIPED_SCALARS: ReadonlySet<string> = new Set([
  'string',
  'number',
  'boolean',
  'null',
  'enum',
  'literal',
  'template_literal',
  'any',
  'unknown',
  'custom',
]);

class Walk {
  readonly problems: SchemaProblem[] = [];
  readonly refs: { path: string; table: string }[] = [];
  /** Schemas may be recursive; each is visited once. */
  readonly #seen = new Set<ZodType>();

  visit(schema: unknown, path: string): void {
    if (!isZodType(schema)) {
      this.#refuse(path, notZod4(schema));
      return;
    }
    if (this.#seen.has(schema)) return;
    this.#seen.add(schema);
    const def = defOf(schema);
    this.#visitChecks(def, path);
    const refusal = NOT_STORABLE[def.type];
    if (refusal !== undefined) this.#refuse(path, refusal);
    else this.#visitInner(schema, def, path);
  }

  #visitInner(schema: ZodType, def: ZodDef, path: string): void {
    switch (def.type) {
      case 'string': {
        const table = refTarget(schema);
        if (table !== null) this.refs.push({ path, table });
        return;
      }
      case 'object':
        for (const key of Object.keys(def.shape)) {
          const problem = keyProblem(key);
          if (problem !== null) this.#refuse(`${path}.${key}`, problem);
          this.visit(def.shape[key], `${path}.${key}`);
        }
        if (def.catchall) this.visit(def.catchall, `${path}.*`);
        return;
      case 'array':
        this.visit(def.element, `${path}[]`);
        return;
      case 'tuple':
        def.items.forEach((item, index) => {
          this.visit(item, `${path}[${index}]`);
        });
        if (def.rest) this.visit(def.rest, `${path}[]`);
        return;
      case 'record':
        this.visit(def.keyType, `${path} (its keys)`);
        this.visit(def.valueType, `${path}.*`);
        return;
      case 'union':
        for (const option of def.options) this.visit(option, path);
        return;
      case 'intersection':
        this.visit(def.left, path);
        this.visit(def.right, path);
        return;
      case 'literal':
        if (def.values.some((value) => typeof value === 'bigint')) this.#refuse(path, NOT_STORABLE.bigint as string);
        return;
      case 'pipe':
        this.#visitPipe(def, path);
        return;
      case 'custom':
        this.#visitCustom(schema, path);
        return;
      default: {
        const inner = innerOf(schema);
        if (inner !== null) this.visit(inner, path);
      }
    }
  }

  #visitPipe(def: z.core.$ZodPipeDef, path: string): void {
    if (defOf(def.in).type === 'transform') {
      this.#refuse(path, 'z.preprocess() changes the value; prepare it in the function, before writing');
    } else if (def.transform !== undefined) {
      this.#refuse(path, 'a codec changes the value; store its encoded side, and put the codec into input or returns');
    } else if (defOf(def.out).type === 'transform') {
      this.#refuse(path, NOT_STORABLE.transform as string);
    } else if (!isPipedScalar(defOf(def.out))) {
      this.#refuse(path, 'this pipe may change the value; use one schema, with its checks in .refine()');
    } else {
      this.visit(def.in, path);
      this.visit(def.out, path);
    }
  }

  #visitCustom(schema: ZodType, path: string): void {
    const expected = schema._zod.bag.Class;
    if (typeof expected === 'function') {
      this.#refuse(path, `an instance of ${expected.name} is not JSON; store a plain object`);
    }
  }

  #visitChecks(def: ZodDef, path: string): void {
    for (const check of [...(def.checks ?? []), { _zod: { def } }]) {
      const checkDef = check._zod.def as { check?: string; fn?: unknown; tx?: unknown };
      if (typeof checkDef.fn === 'function' && checkDef.fn.constructor.name === 'AsyncFunction') {
        this.#refuse(path, 'this check is async; check it in the mutation, before writing');
      }
      if (checkDef.check === 'overwrite' && !isIdempotent(checkDef.tx as (value: unknown) => unknown, def.type)) {
        this.#refuse(path, 'this .overwrite() changes the value each time it is parsed; change it before writing');
      }
    }
  }

  #refuse(path: string, message: string): void {
    this.problems.push({ path, message });
  }
}

/** Why no document can have a field of this name, or `null`. */
function keyProblem(key: string): string | null {
  // Zod drops the key, so that it cannot change the prototype of an object.
  if (key === '__proto__') return 'no object that was parsed has this key; rename the field';
  const problem = unstorableText(key);
  return problem === null ? null : `its name ${problem}; rename the field`;
}

/** True for the second half of a pipe if it only checks the value of the first half. */
function isPipedScalar(def: ZodDef): boolean {
  return PIPED_SCALARS.has(def.type) && (def as { coerce?: boolean }).coerce !== true;
}

/** Tests an overwrite (`trim`, `toLowerCase`, …) with samples: applying it twice must equal applying it once. */
function isIdempotent(overwrite: (value: unknown) => unknown, type: ZodDef['type']): boolean {
  const samples: readonly unknown[] =
    type === 'string' ? ['', ' Convoy \n', 'İstanbul ǅ é', 'a-b_c.d'] : type === 'number' ? [0, -1.5, 7, 1e21] : [];
  return samples.every((sample) => {
    const once = overwrite(sample);
    return Object.is(overwrite(once), once);
  });
}

function notZod4(value: unknown): string {
  const name = zod3TypeName(value);
  if (name !== null) return `${name} is a Zod 3 schema, and Convoy needs Zod 4; import { z } from 'zod' 4 or later`;
  return 'is not a Zod schema; write z.string(), z.number() and the like';
}
