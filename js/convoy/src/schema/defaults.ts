/**
 * Fills constant defaults into documents that were stored before the field existed.
 *
 * Each default is evaluated twice, the second time with the clock shifted by a year: one that returns two different
 * values (`Date.now()`, a random id) is not constant and applies to writes only. The fillers are compiled once, at
 * load, and visit only paths that can have a default. Plain unions are not filled, because the option of a stored value
 * is unknown.
 */

import * as z from 'zod';
import { defOf, lazyTarget, unwrap, type ZodType } from './zod.js';

/** Fills missing defaults into `value`, in place. */
export type Filler = (value: unknown) => void;

/** Compiles the filler for values of `schema`; `null` where it has no constant default. */
export function compileDefaults(schema: ZodType): Filler | null {
  return compile(schema, new Map());
}

function compile(schema: ZodType, compiled: Map<ZodType, Filler | null>): Filler | null {
  const inner = unwrap(schema);
  const cached = compiled.get(inner);
  if (cached !== undefined) return cached;
  // A recursive schema is reached again while its filler is being compiled.
  compiled.set(inner, (value) => filler?.(value));
  const filler = compileKind(inner, compiled);
  compiled.set(inner, filler);
  return filler;
}

function compileKind(schema: ZodType, compiled: Map<ZodType, Filler | null>): Filler | null {
  const def = defOf(schema);
  switch (def.type) {
    case 'object':
      return fillObject(def.shape, compiled);
    case 'array': {
      const fillItem = compile(def.element, compiled);
      return fillItem && ((value) => Array.isArray(value) && value.forEach((item) => void fillItem(item)));
    }
    case 'record': {
      const fillItem = compile(def.valueType, compiled);
      return fillItem && ((value) => isRecord(value) && Object.values(value).forEach((item) => void fillItem(item)));
    }
    case 'intersection': {
      const fillers = [compile(def.left, compiled), compile(def.right, compiled)].filter((filler) => filler !== null);
      return fillers.length === 0 ? null : (value) => fillers.forEach((fill) => void fill(value));
    }
    case 'union':
      return 'discriminator' in def ? fillDiscriminated(def as z.core.$ZodDiscriminatedUnionDef, compiled) : null;
    default:
      return null;
  }
}

function fillObject(shape: z.core.$ZodShape, compiled: Map<ZodType, Filler | null>): Filler | null {
  const missing: [key: string, make: () => unknown][] = [];
  const present: [key: string, fill: Filler][] = [];
  for (const [key, property] of Object.entries(shape)) {
    const make = constantDefault(property);
    if (make !== null) missing.push([key, make]);
    const fill = compile(property, compiled);
    if (fill !== null) present.push([key, fill]);
  }
  if (missing.length === 0 && present.length === 0) return null;
  return (value) => {
    if (!isRecord(value)) return;
    for (const [key, make] of missing) if (!Object.hasOwn(value, key)) value[key] = make();
    for (const [key, fill] of present) fill(value[key]);
  };
}

function fillDiscriminated(
  def: z.core.$ZodDiscriminatedUnionDef,
  compiled: Map<ZodType, Filler | null>,
): Filler | null {
  const byValue = new Map<unknown, Filler>();
  for (const option of def.options) {
    const fill = compile(option, compiled);
    if (fill === null) continue;
    for (const value of option._zod.propValues?.[def.discriminator] ?? []) byValue.set(value, fill);
  }
  if (byValue.size === 0) return null;
  return (value) => {
    if (isRecord(value)) byValue.get(value[def.discriminator])?.(value);
  };
}

/** A function that returns a fresh copy of the constant default of `schema`; `null` where it has none. */
function constantDefault(schema: ZodType): (() => unknown) | null {
  if (!hasDefault(schema)) return null;
  const first = z.safeParse(schema, undefined);
  const second = withShiftedClock(() => z.safeParse(schema, undefined));
  if (!first.success || !second.success || first.data === undefined) return null;
  const text = JSON.stringify(first.data);
  if (text !== JSON.stringify(second.data)) return null;
  const constant: unknown = first.data;
  return typeof constant === 'object' && constant !== null ? () => JSON.parse(text) as unknown : () => constant;
}

function hasDefault(schema: ZodType, depth = 0): boolean {
  const def = defOf(schema);
  switch (def.type) {
    case 'default':
    case 'prefault':
      return true;
    case 'optional':
    case 'nullable':
    case 'nonoptional':
    case 'readonly':
    case 'catch':
      return hasDefault(def.innerType, depth + 1);
    case 'pipe':
      return hasDefault(def.in, depth + 1);
    case 'lazy':
      return depth < 64 && hasDefault(lazyTarget(schema), depth + 1);
    default:
      return false;
  }
}

/** 400 days and an odd remainder, so that every unit from milliseconds to years differs. */
const CLOCK_SHIFT_MS = 400 * 86_400_000 + 20_034_567;

/** Runs `evaluate` with a shifted clock. It must be synchronous, so that no other code observes the clock. */
function withShiftedClock<T>(evaluate: () => T): T {
  const RealDate = Date;
  const later = RealDate.now() + CLOCK_SHIFT_MS;
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, args, newTarget) => Reflect.construct(target, args.length === 0 ? [later] : args, newTarget),
    apply: () => new RealDate(later).toString(),
    get: (target, key) => (key === 'now' ? () => later : Reflect.get(target, key)),
  });
  try {
    return evaluate();
  } finally {
    globalThis.Date = RealDate;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
