// Measures the time from saving a file to the moment at which a subscriber has the result of the new code, in a running
// `convoy dev` with functions on a worker; and of what this time consists, as `convoy dev --verbose` reports it.
//
//   node tests/bench/save.mjs [--files 100] [--functions 5] [--saves 20] [--pause 1000] [--starts 1]
//     [--against <main.js of another build> --against-engine <its addon>]
//
// A developer saves seconds apart, so the thread for the next code is up by then; --pause is the time between saves in
// milliseconds. With 0, a save also waits for that thread.
//
// With --starts, `convoy dev` is started that often, with the database of the first start.
//
// With --against, the saves alternate between both builds, so that the load of the machine affects both. Never fails for
// a slow result.
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { root } from '../../scripts/run.mjs';
import { Database } from './database.mjs';

const { values } = parseArgs({
  options: {
    files: { type: 'string', default: '100' },
    functions: { type: 'string', default: '5' },
    saves: { type: 'string', default: '20' },
    pause: { type: 'string', default: '1000' },
    starts: { type: 'string', default: '1' },
    against: { type: 'string' },
    'against-engine': { type: 'string' },
  },
});
const [files, functions, saves, pauseMs, starts] = [
  values.files,
  values.functions,
  values.saves,
  values.pause,
  values.starts,
].map(Number);
const builds = {
  this: join(root, 'js/convoy/dist/cli/main.js'),
  ...(values.against && { other: resolve(values.against) }),
};

const otherEngine = values['against-engine'] ? { CONVOY_NATIVE_PATH: resolve(values['against-engine']) } : {};

const functionFile = (n, version) => `import { z } from 'zod';
import { mutation, query } from '../_generated/server';
${n === 0 ? "import schema from '../schema';" : ''}
export const version = query({ handler: () => ${version} });
${Array.from(
  { length: functions - 1 },
  (_, at) => `export const change${at} = mutation({
  input: { room: z.string().min(1), body: z.string().max(${100 + at}), tags: z.array(z.string()).default([]) },
  handler: (ctx, { room, body }) => ctx.db.insert('messages', { room, body }),
});
`,
).join('')}${
  n === 0
    ? `export const schemaVersion = query({
  handler: () => Object.values(schema.tables).reduce((sum, table) => sum + 1 + Object.keys(table.indexes).length, 0),
});
`
    : ''
}`;

const schemaFile = (tables, indexes) => `import { defineSchema, defineTable } from '@avvos/convoy';
import { z } from 'zod';
export default defineSchema({
  messages: defineTable({ room: z.string(), body: z.string() })${Array.from(
    { length: indexes },
    (_, n) => `.index('by_room${n}', ['room', 'body'])`,
  ).join('')},
${Array.from({ length: tables }, (_, n) => `  table${n}: defineTable({ name: z.string() }),\n`).join('')}});
`;

/** One project, served by one build. */
class Served {
  /** The parts of each save, as printed. */
  parts = [];
  /** The time that each start took until it served. */
  startsMs = [];
  #output = '';
  #wake = () => {};
  #tables = 0;
  #indexes = 0;
  #version = 0;

  static async start(program, url, folder, engine) {
    const served = new Served();
    served.folder = folder;
    await mkdir(join(folder, 'convoy/functions'), { recursive: true });
    await writeFile(join(folder, 'package.json'), '{ "name": "saved", "type": "module" }');
    await writeFile(join(folder, 'convoy/schema.ts'), schemaFile(0, 0));
    for (let n = 0; n < files; n++) await writeFile(served.#file(n), functionFile(n, 0));
    const env = { ...process.env, DATABASE_URL: url, NO_COLOR: '1', ...engine };
    // The first start creates the database; the second is what a developer has every day.
    await served.#run(program, env, ['--once']);
    for (let n = 0; n < starts; n++) {
      if (n > 0) await served.stop();
      await served.#serve(program, env);
    }
    return served;
  }

  async #serve(program, env) {
    this.#output = '';
    const began = performance.now();
    this.#child(program, env, ['--port', '0', '--verbose']);
    const url = await this.#prints(/https?:\/\/[\d.a-z]+:\d+/);
    this.startsMs.push(performance.now() - began);
    this.api = `${url}/api`;
  }

  /** The time until a subscriber has the result of changed code. */
  async saveFunction() {
    const version = ++this.#version;
    return this.#untilResult('f1.version', (value) => value === version, this.#file(1), functionFile(1, version));
  }

  async addFile() {
    const name = `added${++this.#version}`;
    const began = performance.now();
    await writeFile(join(this.folder, `convoy/functions/${name}.ts`), functionFile(2, 7));
    for (;;) {
      const response = await fetch(`${this.api}/query/${name}.version`, { method: 'POST', body: '{}', headers });
      if (!(await response.json()).ok) continue;
      const took = performance.now() - began;
      await this.#settled();
      return took;
    }
  }

  async addTable() {
    return this.#saveSchema(schemaFile(++this.#tables, this.#indexes));
  }

  async addIndex() {
    return this.#saveSchema(schemaFile(this.#tables, ++this.#indexes));
  }

  async stop() {
    const ended = new Promise((resolve) => this.process.once('close', resolve));
    this.process.kill('SIGTERM');
    await ended;
  }

  #saveSchema(text) {
    const file = join(this.folder, 'convoy/schema.ts');
    return this.#untilResult('f0.schemaVersion', (value, first) => value !== first, file, text);
  }

  async #untilResult(name, isNew, file, text) {
    const response = await fetch(`${this.api}/subscribe?name=${name}&args={}`);
    let began = 0;
    let first = null;
    let received = '';
    for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
      received += chunk;
      const frames = received.split('\n\n');
      received = frames.pop();
      for (const frame of frames) {
        const data = /^data: ?(.*)$/m.exec(frame)?.[1];
        if (data === undefined) continue;
        const value = JSON.parse(data).data;
        if (began === 0) {
          first = value;
          began = performance.now();
          await writeFile(file, text);
        } else if (isNew(value, first)) {
          const took = performance.now() - began;
          await this.#settled();
          return took;
        }
      }
    }
    throw new Error(`the stream of ${name} ended`);
  }

  /** Waits until this save was reported, so that the next one does not join it. */
  async #settled() {
    await this.#prints(/changed: loaded.*\n(save to live.*\n)?/);
    await pause(pauseMs);
  }

  #file(n) {
    return join(this.folder, `convoy/functions/f${n}.ts`);
  }

  #child(program, env, flags) {
    this.process = spawn(process.execPath, [program, 'dev', ...flags], { cwd: this.folder, env, stdio: 'pipe' });
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        this.#output += text;
        this.#wake();
      });
    }
    this.process.stdin.on('error', () => {});
  }

  async #run(program, env, flags) {
    this.#child(program, env, flags);
    const code = await new Promise((resolve) => this.process.once('close', resolve));
    if (code !== 0) throw new Error(this.#output);
    this.#output = '';
  }

  async #prints(pattern) {
    for (;;) {
      const match = pattern.exec(this.#output);
      if (match) {
        const read = this.#output.slice(0, match.index + match[0].length);
        for (const [, line] of read.matchAll(/^save to live: (.*)$/gm)) this.parts.push(partsOf(line));
        this.#output = this.#output.slice(read.length);
        return match[0];
      }
      if (this.process.exitCode !== null) throw new Error(this.#output);
      await new Promise((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

const headers = { 'content-type': 'application/json' };

/** `noticed 3.1 ms, bundled 12.0 ms` as an object. */
function partsOf(line) {
  return Object.fromEntries(
    [...line.matchAll(/([a-z ]+?) ([\d.]+) ms/g)].map(([, name, ms]) => [name.trim(), Number(ms)]),
  );
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

const ms = (number) => `${number.toFixed(0)} ms`.padStart(8);

const database = await Database.start();
const local = join(root, 'tests/.convoy');
await mkdir(local, { recursive: true });
const folder = await mkdtemp(join(local, 'save-'));
try {
  const served = {};
  for (const [name, program] of Object.entries(builds)) {
    const url = new URL(database.url);
    url.pathname = `/save_${name}`;
    served[name] = await Served.start(program, url.href, join(folder, name), name === 'other' ? otherEngine : {});
  }
  const kinds = {
    'a function': 'saveFunction',
    'an added file': 'addFile',
    'an added table': 'addTable',
    'an added index': 'addIndex',
  };
  console.log(`\n${files * functions} functions in ${files} files, medians of ${saves} saves and ${starts} starts\n`);
  console.log(
    `${'start to serving'.padEnd(18)}${Object.entries(served)
      .map(([name, { startsMs }]) => `${name} ${ms(median(startsMs))}`)
      .join('   ')}`,
  );
  for (const [kind, method] of Object.entries(kinds)) {
    const taken = Object.fromEntries(Object.keys(served).map((name) => [name, []]));
    for (const each of Object.values(served)) each.parts = [];
    for (let n = 0; n < saves; n++) {
      for (const [name, each] of Object.entries(served)) taken[name].push(await each[method]());
    }
    const row = Object.entries(taken).map(([name, times]) => `${name} ${ms(median(times))}`);
    const ratio = taken.other ? `   ratio ${(median(taken.this) / median(taken.other)).toFixed(2)}` : '';
    console.log(`${kind.padEnd(18)}${row.join('   ')}${ratio}`);
    for (const [name, { parts }] of Object.entries(served)) {
      const names = [...new Set(parts.flatMap((each) => Object.keys(each)))];
      const text = names.map((part) => `${part} ${median(parts.map((each) => each[part] ?? 0)).toFixed(1)}`).join(', ');
      if (text) console.log(`${''.padEnd(18)}  of ${name}: ${text}`);
    }
  }
  for (const each of Object.values(served)) await each.stop();
} finally {
  await database.stop();
  await rm(folder, { recursive: true });
}
