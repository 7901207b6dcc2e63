// Measures `convoy import` and `convoy export`: time and peak memory for many documents, and an import and an export
// that are killed half-way and continued. Fails if a document is lost, added or changed.
//
//   node tests/bench/transfer.mjs [--rows 1000000]
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import pg from 'pg';
import { root } from '../../scripts/run.mjs';
import { Database } from './database.mjs';

const { values } = parseArgs({ options: { rows: { type: 'string', default: '1000000' } } });
const rows = Number(values.rows);
const program = join(root, 'js/convoy/dist/cli/main.js');

const schema = `import { defineSchema, defineTable } from '@avvos/convoy';
import { z } from 'zod';
export default defineSchema({
  messages: defineTable({ channel: z.string(), body: z.string(), likes: z.number() }).index('by_channel', ['channel']),
});
`;

function* documents() {
  for (let n = 0; n < rows; n++) {
    const body = `message ${n}, about as long as what people send to each other in a chat`;
    yield `${JSON.stringify({ channel: `channel-${n % 100}`, body, likes: n % 7, _creationTime: 1_700_000_000_000 + n })}\n`;
  }
}

/** Runs a command; with `killAt`, kills it with SIGKILL when this returns true. */
async function convoy(folder, url, args, killAt) {
  const began = performance.now();
  const child = spawn(process.execPath, [program, ...args], {
    cwd: folder,
    env: { ...process.env, DATABASE_URL: url, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  const closed = new Promise((resolve) => child.once('close', (code) => resolve({ code })));
  let [peakKb, killed] = [0, false];
  let end;
  while (end === undefined) {
    peakKb = Math.max(peakKb, await peakMemory(child.pid));
    if (killAt !== undefined && !killed && (await killAt())) killed = child.kill('SIGKILL');
    end = await Promise.race([closed, pause(50)]);
  }
  const { code } = end;
  if (code !== (killed ? null : 0)) throw new Error(`convoy ${args.join(' ')} ended with ${code}:\n${output}`);
  if (killAt !== undefined && !killed) throw new Error(`convoy ${args.join(' ')} ended before it was to be killed`);
  return { seconds: (performance.now() - began) / 1000, peakMb: peakKb / 1024, output };
}

/** `VmHWM` in kB, or 0 once the process has ended. */
async function peakMemory(pid) {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0);
}

/** The number of lines, and a digest of the documents without the time of the last change. */
async function contents(file) {
  const hash = createHash('sha256');
  let [lines, rest] = [0, ''];
  for await (const chunk of createReadStream(file, 'utf8')) {
    const parts = (rest + chunk).split('\n');
    rest = parts.pop();
    lines += parts.length;
    for (const line of parts) hash.update(line.replace(/"updatedAt":"[^"]*",/, ''));
  }
  return { lines, digest: hash.digest('hex') };
}

const row = (name, { seconds, peakMb }) =>
  console.log(`${name.padEnd(34)} ${seconds.toFixed(1).padStart(7)} s  ${peakMb.toFixed(0).padStart(5)} MB`);

// Inside the workspace, so that the schema finds the package.
const local = join(root, 'tests/.convoy');
await mkdir(local, { recursive: true });
const folder = await mkdtemp(join(local, 'transfer-'));
const database = await Database.start();
const urlOf = (name) => Object.assign(new URL(database.url), { pathname: `/${name}` }).href;
const databases = { whole: urlOf('whole'), killed: urlOf('killed') };
const admin = new pg.Client({ connectionString: database.url });
const client = new pg.Client({ connectionString: databases.killed });
await admin.connect();
try {
  await mkdir(join(folder, 'convoy/functions'), { recursive: true });
  await writeFile(join(folder, 'package.json'), '{ "name": "transfer", "type": "module" }');
  await writeFile(join(folder, 'convoy/schema.ts'), schema);
  await mkdir(join(folder, 'in'));
  await pipeline(documents(), createWriteStream(join(folder, 'in/messages.jsonl')));
  const { size } = await stat(join(folder, 'in/messages.jsonl'));
  console.log(`${rows} documents, ${(size / 1e6).toFixed(0)} MB; peak memory of the process\n`);

  for (const [name, url] of Object.entries(databases)) {
    await admin.query(`create database ${name}`);
    await convoy(folder, url, ['migrate']);
  }
  await client.connect();
  const stored = async () => Number((await client.query('select count(*) from messages')).rows[0].count);

  row('import', await convoy(folder, databases.whole, ['import', 'in']));
  row('export', await convoy(folder, databases.whole, ['export', 'out']));
  row(
    'import, killed half-way',
    await convoy(folder, databases.killed, ['import', 'in'], async () => (await stored()) > rows / 2),
  );
  const half = await stored();
  row(`  continued from ${half}`, await convoy(folder, databases.killed, ['import', 'in']));

  const part = join(folder, 'again/messages.jsonl');
  const whole = await stat(join(folder, 'out/messages.jsonl'));
  const exported = async () => {
    const sizes = await Promise.all(
      (await readdir(join(folder, 'again')).catch(() => [])).map(
        async (file) => (await stat(join(folder, 'again', file))).size,
      ),
    );
    return sizes.reduce((sum, each) => sum + each, 0) > whole.size / 2;
  };
  row('export, killed half-way', await convoy(folder, databases.killed, ['export', 'again'], exported));
  row('  continued', await convoy(folder, databases.killed, ['export', 'again']));
  row('import, all stored already', await convoy(folder, databases.killed, ['import', 'again']));

  const [first, second] = [await contents(join(folder, 'out/messages.jsonl')), await contents(part)];
  if (first.lines !== rows || second.lines !== rows || first.digest !== second.digest) {
    throw new Error(`The exports differ: ${JSON.stringify({ first, second })}`);
  }
  console.log(`\nboth exports have ${rows} documents and the same digest`);
} finally {
  await admin.end();
  await client.end();
  await database.stop();
  await rm(folder, { recursive: true, force: true });
}
