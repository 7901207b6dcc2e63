/** The log as JSON lines: whatever functions print, log and throw, each line is one object. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { CommandLine, call, schema } from './command-line.js';
import { withSeeds } from './model/seeds.js';

const functions = `import { z } from 'zod';
import { mutation, query } from '../_generated/server';

/** Texts of this seed, of every kind of character, over several lines. */
function* texts(seed: number) {
  const parts = ['a', '"', '\\\\', '\\n', '\\r\\n', '\\t', '{', '}', '\\u0000', '\\u001b[31m', 'é', '💥', '\\ud800', '\\u2028', '{"a":1}'];
  for (let state = seed; ; ) {
    let text = '';
    do {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      text += parts[(state >>> 16) % parts.length];
    } while ((state >>> 8) % 16 !== 0);
    yield text;
  }
}

export const print = query({
  input: { seed: z.number(), count: z.number() },
  handler: (ctx, { seed, count }) => {
    const text = texts(seed);
    const ways = [
      (line: string) => console.log(line),
      (line: string) => console.error(line),
      (line: string) => process.stdout.write(line),
      (line: string) => ctx.log.info(line),
      (line: string) => ctx.log.error('failed', { line, nested: { line } }),
      (line: string) => ctx.log.warn(line, new Error(line)),
    ];
    for (let n = 0; n < count; n++) ways[n % ways.length]?.(String(text.next().value));
  },
});
export const large = query({
  handler: (ctx) => {
    console.log('\\u0001'.repeat(1 << 20));
    ctx.log.info('"'.repeat(1 << 20), { text: '💥'.repeat(1 << 20), list: Array(100_000).fill('"') });
  },
});
export const structured = query({ handler: () => console.log('{"mine":1}\\n{"mine":2}\\n') });
export const fail = mutation({
  handler: () => {
    throw new Error('over\\nlines');
  },
});
`;

let app: CommandLine;
beforeEach(async () => {
  app = await CommandLine.create({ 'convoy/schema.ts': schema(''), 'convoy/functions/logs.ts': functions });
  for (const command of ['build', 'migrate']) expect((await app.run([command])).code).toBe(0);
});
afterEach(() => app.remove());

interface Line {
  readonly time?: string;
  readonly level?: string;
  readonly function?: string;
  readonly call?: number;
  readonly message?: string;
  readonly fields?: object;
}

/** Each line, parsed; fails for one that is no object. */
function parsed(text: string): Line[] {
  const lines = text.split('\n');
  expect(lines.pop()).toBe('');
  return lines.map((line) => {
    expect(Buffer.byteLength(line)).toBeLessThanOrEqual(16 << 10);
    const value: unknown = JSON.parse(line);
    expect(value).toBeTypeOf('object');
    return value as Line;
  });
}

test('every line of a server with --log-format json is one JSON object', async () => {
  await withSeeds('log-format', async (seed) => {
    const { server, url } = await app.serve({}, '--log-format', 'json');
    for (let run = 0; run < 2; run++) {
      const args = { seed: seed + run, count: 600 };
      expect(await call(url, 'query/logs.print', args)).toMatchObject({ ok: true });
    }
    expect(await call(url, 'query/logs.large')).toMatchObject({ ok: true });
    expect(await call(url, 'query/logs.structured')).toMatchObject({ ok: true });
    expect(await call(url, 'mutation/logs.fail')).toMatchObject({ ok: false });
    server.process.kill('SIGTERM');
    expect(await server.ended).toBe(0);
    const [printed, logged] = [parsed(server.stdout), parsed(server.stderr)];
    expect(printed.length + logged.length).toBeGreaterThan(1_000);
    const ofFunction = logged.filter((line) => line.function === 'logs.print');
    expect(ofFunction).toHaveLength(600);
    for (const line of ofFunction) {
      expect(line.time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$/);
      expect(['info', 'warn', 'error']).toContain(line.level);
      expect(line.call).toBeTypeOf('number');
    }
    expect(printed).toContainEqual({ mine: 1 });
    expect(printed).toContainEqual({ mine: 2 });
    expect(printed.some(({ message }) => message?.includes('serves http'))).toBe(true);
    const cut = /… \(\d+ more \w+ were cut\)/;
    expect(logged.find((line) => line.function === 'logs.large')?.message).toMatch(cut);
    expect(printed.some(({ message }) => cut.test(message ?? ''))).toBe(true);
    const failure = logged.find((line) => JSON.stringify(line).includes('over\\nlines'));
    expect(failure).toMatchObject({ level: 'error' });
  });
});

test('lines for people cannot be forged or coloured by what a function logs', async () => {
  const { server, url } = await app.serve();
  expect(await call(url, 'query/logs.print', { seed: 1, count: 60 })).toMatchObject({ ok: true });
  server.process.kill('SIGTERM');
  await server.ended;
  const lines = server.stderr.split('\n').filter((line) => /logs\.print#\d+: /.test(line));
  expect(lines).toHaveLength(30);
  for (const line of lines) {
    expect(line).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z +(INFO|WARN|ERROR) logs\.print#\d+: /);
    expect(line).not.toMatch(/\p{Cc}/u);
  }
});
