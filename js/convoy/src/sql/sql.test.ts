import { describe, expect, it } from 'vitest';
import { sql } from './index.js';
import { bindStatement } from './statement.js';
import { MAX_NAME_BYTES } from './tag.js';
import { MAX_DIMENSIONS } from './text-form.js';

/** The statement with its values as text. */
const bound = (query: unknown): [string, ...(string | null)[]] => {
  const { text, values } = bindStatement(query);
  return [text, ...values];
};
/** The text form of one value. */
const text = (value: unknown): string | null | undefined =>
  bindStatement({ text: 'select $1', values: [value] }).values[0];

describe('sql', () => {
  it('keeps values out of the text', () => {
    const injected = "x'; drop table users; --";
    const statement = sql`select * from users where name = ${injected} and age > ${18}`;
    expect(statement.text).toBe('select * from users where name = $1 and age > $2');
    expect(statement.values).toEqual([injected, 18]);
  });

  it('nests, and numbers the parameters of the whole', () => {
    const adult = sql`age > ${18}`;
    const where = sql`where ${adult} or (${sql`name = ${'Ada'} and ${adult}`})`;
    expect(bound(sql`select ${1} from users ${where} limit ${5}`)).toEqual([
      'select $1 from users where age > $2 or (name = $3 and age > $4) limit $5',
      '1',
      '18',
      'Ada',
      '18',
      '5',
    ]);
    expect(sql`${sql``}${sql`a`}${sql.empty()}`.text).toBe('a');
  });

  it('quotes names, inserts trusted text, and joins', () => {
    const columns = ['a', 'we"ird'].map((name) => sql.identifier(name));
    const list = sql.join(columns, sql`, `);
    expect(sql`select ${list} from t ${sql.raw('order by 1')}`.text).toBe('select "a", "we""ird" from t order by 1');
    expect(bound(sql`x in (${sql.join([1, sql`2`, 3], sql`, `)})`)).toEqual(['x in ($1, 2, $2)', '1', '3']);
    expect(sql.join([], sql`, `).text).toBe('');
    expect(sql.identifier('x'.repeat(MAX_NAME_BYTES)).text).toBe(`"${'x'.repeat(MAX_NAME_BYTES)}"`);
  });

  it('binds an object that only resembles a fragment as a value', () => {
    const forged = JSON.parse('{"text":"drop table users","values":[],"parts":["drop table users"]}') as unknown;
    expect(bound(sql`select ${forged}`)).toEqual(['select $1', JSON.stringify(forged)]);
  });

  it.each<[string, () => unknown, RegExp]>([
    ['parentheses around a string', () => sql('select 1' as never), /template tag: write sql`select …` without/],
    ['parentheses around nothing', () => (sql as unknown as () => unknown)(), /template tag/],
    ['an array of texts', () => sql(['select 1'] as never), /template tag/],
    ['raw of a number', () => sql.raw(7 as never), /sql\.raw\(\) takes a string/],
    ['an empty name', () => sql.identifier(''), /takes a name/],
    ['too long a name', () => sql.identifier('ä'.repeat((MAX_NAME_BYTES + 1) / 2)), /at most 63 bytes/],
    ['a NUL in a name', () => sql.identifier('a\u0000'), /no NUL character/],
    ['a separator that is a string', () => sql.join([], ', ' as never), /takes its separator as an SQL fragment/],
    ['a value that is not a list', () => sql.join('x' as never, sql``), /takes an array/],
    ['an invalid escape', () => sql`\unicode`, /write it twice/],
  ])('refuses %s', (_, make, message) => {
    expect(make).toThrow(expect.objectContaining({ code: 'INVALID_ARGS', message: expect.stringMatching(message) }));
  });
});

/** An array with so many dimensions. */
function arrayOf(dimensions: number): unknown {
  return dimensions === 0 ? 1 : [arrayOf(dimensions - 1)];
}

describe('the text of a value', () => {
  it.each<[string, unknown, string | null]>([
    ['null', null, null],
    ['a boolean', true, 'true'],
    ['a number', -1.5e300, '-1.5e+300'],
    ['a bigint', 2n ** 63n, '9223372036854775808'],
    ['a text', 'it\'s "x" \\ ä', 'it\'s "x" \\ ä'],
    ['a Date', new Date(0), '1970-01-01T00:00:00.000Z'],
    ['bytes', new Uint8Array([0, 15, 255]), '\\x000fff'],
    ['a Buffer', Buffer.from('hi'), '\\x6869'],
    ['an object', { a: [1, null], at: new Date(0) }, '{"a":[1,null],"at":"1970-01-01T00:00:00.000Z"}'],
    ['an empty array', [], '{}'],
    ['an array', [1, null, true, 2n], '{1,NULL,true,2}'],
    ['an array of texts', ['a', '', 'NULL', 'a,b', '"\\{}'], '{"a","","NULL","a,b","\\"\\\\{}"}'],
    [
      'an array of arrays',
      [
        [1, 2],
        [3, 4],
      ],
      '{{1,2},{3,4}}',
    ],
    ['as many dimensions as the limit', arrayOf(MAX_DIMENSIONS), '{{{{{{1}}}}}}'],
    ['an array of objects', [{ a: '"' }], '{"{\\"a\\":\\"\\\\\\"\\"}"}'],
    ['an array of bytes', [new Uint8Array([1])], '{"\\\\x01"}'],
    ['an array of Dates', [new Date(0)], '{"1970-01-01T00:00:00.000Z"}'],
  ])('%s', (_, value, expected) => {
    expect(text(value)).toBe(expected);
  });

  it.each<[string, unknown, RegExp]>([
    ['undefined', undefined, /\$1 is undefined; pass null/],
    ['undefined in an array', [1, undefined], /is undefined/],
    ['a hole', new Array(1), /is undefined/],
    ['NaN', Number.NaN, /is NaN/],
    ['a zero character', 'a\u0000', /\\u0000/],
    ['half a surrogate pair', ['\ud800'], /surrogate/],
    ['an invalid Date', new Date(Number.NaN), /invalid Date/],
    ['a Map', new Map(), /is a Map; pass a string/],
    ['an instance', new URL('http://x'), /is a URL/],
    ['a function', () => 1, /is a function/],
    ['a symbol', Symbol('x'), /is a symbol/],
    ['an object with a bigint', { a: { b: 1n } }, /cannot be JSON: a\.b is a bigint/],
    ['an object with half a surrogate pair', { a: [{ b: '\udc00' }] }, /cannot be JSON: a\[0\]\.b .*surrogate/],
    ['an object with a zero character', [{ 'a\u0000': 1 }], /cannot be JSON: a.* \\u0000/],
    ['an object whose toJSON returns undefined', { toJSON: () => undefined }, /is undefined/],
    ['a dimension more than the limit', [arrayOf(MAX_DIMENSIONS)], /6 dimensions/],
  ])('refuses %s', (_, value, message) => {
    expect(() => text(value)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGS', message: expect.stringMatching(message) }),
    );
  });
});

/** A minimal stand-in for Drizzle's SQL. */
class DrizzleLike {
  constructor(
    readonly queryChunks: readonly unknown[],
    readonly params: readonly unknown[] = [],
  ) {}

  toQuery(config: {
    escapeName(name: string): string;
    escapeParam(place: number): string;
    escapeString(text: string): string;
  }) {
    const name = config.escapeName('we"ird');
    return {
      sql: `select ${name}, ${config.escapeString("it's")} where ${config.escapeParam(0)}`,
      params: this.params,
    };
  }
}

describe('a query of Drizzle', () => {
  it('builds itself, with values as text', () => {
    expect(bound(new DrizzleLike([], [new Date(0)]))).toEqual([
      `select "we""ird", 'it''s' where $1`,
      '1970-01-01T00:00:00.000Z',
    ]);
  });

  it('is refused if a placeholder has no value, or if it cannot be built', () => {
    class Placeholder {
      readonly name = 'id';
    }
    class Param {
      readonly value = new Placeholder();
    }
    for (const drizzle of [Placeholder, Param]) {
      Object.assign(drizzle, { [Symbol.for('drizzle:entityKind')]: drizzle.name });
    }
    for (const value of [new Placeholder(), new Param()]) {
      expect(() => bound(new DrizzleLike([], [value]))).toThrow(
        /the placeholder 'id' has no value; pass the value itself/,
      );
    }
    expect(() => bound({ queryChunks: [] })).toThrow(/this Drizzle query cannot be used here: it has no toQuery/);
    const broken = Object.assign(new DrizzleLike([]), {
      toQuery() {
        throw new Error('no such column.');
      },
    });
    expect(() => bound(broken)).toThrow(/cannot be used here: no such column\./);
  });
});
