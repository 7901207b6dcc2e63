/** Random queries, in a form that both `ctx.db` and the model can run. */
import type { ConvoyContext } from '@avvos/convoy';
import type { Random } from './random.js';
import { type Bound, type Filter, fieldOf, type ModelTable, type Plan } from './table.js';
import { FIELDS, fieldValue, INDEXES } from './things.js';

export type Db = ConvoyContext['db'];
type Query = ReturnType<Db['query']>;
type FilterBuilder = Parameters<Parameters<Query['filter']>[0]>[0];
type Condition = ReturnType<FilterBuilder['eq']>;

const FIELD_NAMES = Object.keys(FIELDS);
/** All documents, in creation order. */
export const WHOLE: Plan = {
  index: null,
  eq: [],
  lower: null,
  upper: null,
  offPrefix: [],
  filters: [],
  direction: 'asc',
  by: null,
  offset: 0,
  limit: null,
};

/** Any range, filter and order; without limit and offset. */
export function randomPlan(random: Random, model: ModelTable): Plan {
  const plan = { ...WHOLE, ...randomRange(random, model) };
  const filters = random.chance(0.35) ? [randomFilter(random, model, 0)] : [];
  if (filters.length > 0 && random.chance(0.2)) filters.push(randomFilter(random, model, 1));
  // Texts longer than the indexed prefix have no exact order in the index; any other order is exact.
  const unordered = plan.index === 'by_note' && plan.eq.length === 0;
  const by = unordered || random.chance(0.25) ? random.pick(FIELD_NAMES) : null;
  return { ...plan, filters, by, direction: random.pick(['asc', 'desc']) };
}

/** Sometimes a limit, and sometimes an offset. */
export function randomSlice(random: Random): Pick<Plan, 'limit' | 'offset'> {
  return { limit: random.chance(0.3) ? random.below(12) : null, offset: random.chance(0.15) ? random.below(6) : 0 };
}

function randomRange(random: Random, model: ModelTable): Partial<Plan> {
  if (random.chance(0.2)) return {};
  const index = random.pick(Object.keys(INDEXES));
  const fields = INDEXES[index] as readonly string[];
  const equal = (field: string): unknown => {
    const system = field === 'id' || field === '_creationTime';
    return !system && random.chance(0.15) ? null : comparable(random, model, field);
  };
  const eq = fields.slice(0, random.below(fields.length + 1)).map(equal);
  const next = fields[eq.length];
  const bound = (): Bound | null =>
    next === undefined || random.chance(0.6)
      ? null
      : { value: scalar(random, model, next), inclusive: random.chance(0.5) };
  const offPrefix = fields.slice(eq.length + 1).filter(() => random.chance(0.2));
  return {
    index,
    eq,
    lower: bound(),
    upper: bound(),
    offPrefix: offPrefix.map((field) => ({
      field,
      value: equal(field),
    })),
  };
}

function randomFilter(random: Random, model: ModelTable, depth: number): Filter {
  const inner = () => Array.from({ length: random.below(4) }, () => randomFilter(random, model, depth + 1));
  switch (random.weighted({ leaf: 6, in: 2, and: depth < 3 ? 1 : 0, or: depth < 3 ? 1 : 0, not: depth < 3 ? 1 : 0 })) {
    case 'and':
      return { is: 'and', of: inner() };
    case 'or':
      return { is: 'or', of: inner() };
    case 'not':
      return { is: 'not', of: randomFilter(random, model, depth + 1) };
    case 'in': {
      const field = random.pick(FIELD_NAMES);
      return {
        is: 'in',
        field,
        values: Array.from({ length: random.below(4) }, () => filterValue(random, model, field)),
      };
    }
    default: {
      const field = random.pick(FIELD_NAMES);
      const is = random.pick(['eq', 'neq', 'gt', 'gte', 'lt', 'lte'] as const);
      const equality = is === 'eq' || is === 'neq';
      return { is, field, value: equality ? filterValue(random, model, field) : scalar(random, model, field) };
    }
  }
}

/** A value of the field's type: that of a document, or a random one. */
function comparable(random: Random, model: ModelTable, field: string): unknown {
  const id = random.chance(0.7) || field === 'id' || field === '_creationTime' ? pickId(random, model) : null;
  const row = id === null ? null : model.row(id);
  const value = row === null ? undefined : fieldOf(row, field);
  const matches = value !== undefined && value !== null && (FIELDS[field] === 'json' || typeof value === TYPES[field]);
  return matches ? value : (FALLBACK[field] ?? fieldValue(random, field));
}

const TYPES: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries(FIELDS).map(([field, kind]) => [field, kind === 'text' ? 'string' : kind]),
);
/** Values for a table without documents. */
const FALLBACK: Readonly<Record<string, unknown>> = {
  id: 'things:00000000-0000-4000-8000-000000000000',
  _creationTime: 1_700_000_000_000.5,
};

/** A value that has an order. */
function scalar(random: Random, model: ModelTable, field: string): unknown {
  for (;;) {
    const value = comparable(random, model, field);
    if (typeof value !== 'object') return value;
  }
}

/** A value for an equality: sometimes null, and sometimes of a type that the field has only in foreign documents. */
function filterValue(random: Random, model: ModelTable, field: string): unknown {
  if (field === 'id' || field === '_creationTime') return comparable(random, model, field);
  if (random.chance(0.2)) return null;
  return random.chance(0.1) ? random.pick(['9', 9, true, 'true', [1], {}]) : comparable(random, model, field);
}

export function pickId(random: Random, model: ModelTable): string | null {
  const { ids } = model;
  return ids.length === 0 ? null : random.pick(ids);
}

/** Builds the query of a plan. */
export function buildQuery(db: Db, plan: Plan): Query {
  let query = db.query('things');
  const { index, eq, lower, upper, offPrefix } = plan;
  if (index !== null) {
    const fields = INDEXES[index] as readonly string[];
    const next = fields[eq.length] as string;
    query = query.withIndex(index, (q) => {
      eq.forEach((value, at) => void q.eq(fields[at] as string, value));
      for (const { field, value } of offPrefix) q.eq(field, value);
      if (lower !== null) q[lower.inclusive ? 'gte' : 'gt'](next, lower.value);
      if (upper !== null) q[upper.inclusive ? 'lte' : 'lt'](next, upper.value);
    });
  }
  for (const filter of plan.filters) query = query.filter((q) => condition(q, filter));
  if (plan.by !== null) query = query.order(plan.direction, plan.by);
  else if (plan.direction === 'desc') query = query.order('desc');
  if (plan.offset > 0) query = query.offset(plan.offset);
  return plan.limit === null ? query : query.limit(plan.limit);
}

function condition(q: FilterBuilder, filter: Filter): Condition {
  switch (filter.is) {
    case 'and':
    case 'or':
      return q[filter.is](...filter.of.map((each) => condition(q, each)));
    case 'not':
      return q.not(condition(q, filter.of));
    case 'in':
      return q.in(q.field(filter.field), filter.values);
    case 'eq':
    case 'neq':
      return q[filter.is](q.field(filter.field), filter.value);
    default:
      return q[filter.is](q.field(filter.field), filter.value as string);
  }
}
