// The upper bound: the same SQL run by pgbench, without a server in front of Postgres.
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { PGBENCH } from './contestants.mjs';
import { CHANNELS, channelName, rowId, urlFor } from './database.mjs';
import { POOL } from './servers/inputs.mjs';
import * as sql from './servers/statements.mjs';

const exec = promisify(execFile);

const message = {
  channel: channelName(1),
  author: 'someone',
  text: 'as long as what people send each other',
  likes: 1,
};
/** An SQL literal; the spaces after colons prevent pgbench from substituting variables. */
const document = `'${JSON.stringify(message, null, 1)}'`;

/**
 * Scripts by name. Ids are computed from numbers, since pgbench variables are numeric; the SQL equals that of the
 * others.
 */
const SCRIPTS = {
  get: [pick('n'), inlined(sql.get, rowId(':n::int'))],
  list: [`\\set n random(0, ${CHANNELS - 1})`, inlined(sql.newest, "('channel-' || :n::int)")],
  insert: [inlined(sql.insert, document)],
  rmw: [
    pick('n'),
    `${sql.BEGIN};`,
    inlined(sql.lockMessage, rowId(':n::int')),
    inlined(sql.updateMessage, rowId(':n::int'), document),
    'commit;',
  ],
  transfer: [
    pick('a'),
    pick('b'),
    '\\set b case when :a = :b then 1 + :b % :rows else :b end',
    `${sql.BEGIN};`,
    inlined(sql.lockBalances, rowId(':a::int'), rowId(':b::int')),
    inlined(sql.move, rowId(':a::int'), rowId(':b::int'), '5'),
    'commit;',
  ],
};

export class Pgbench {
  #program;
  #database;

  /** The reason why there are no results, if so. */
  missing;

  /** @param {Database} database */
  static async find(database) {
    const pgbench = new Pgbench();
    pgbench.#database = database;
    pgbench.#program = await firstExecutable(['pgbench', ...(await installed())]);
    if (pgbench.#program === undefined) pgbench.missing = 'not installed: neither in PATH nor in /usr/lib/postgresql';
    return pgbench;
  }

  /**
   * One run of whole seconds. No run if there is no such script or no pgbench, or if it
   * fails, which is then the reason for missing results.
   *
   * @param {keyof typeof SCRIPTS | undefined} name
   * @param {{ measureMs: number }} pace
   */
  async run(name, { measureMs }) {
    if (name === undefined || this.missing !== undefined) return [];
    const folder = await mkdtemp(join(tmpdir(), 'convoy-pgbench-'));
    try {
      const script = join(folder, 'script.sql');
      await writeFile(script, `${SCRIPTS[name].join('\n')}\n`);
      const seconds = Math.ceil(measureMs / 1000);
      const before = await this.#database.cpu();
      const { stdout } = await exec(this.#program, [
        ...['--no-vacuum', '--protocol=prepared', `--client=${POOL}`, '--jobs=2', `--time=${seconds}`],
        ...['--log', `--log-prefix=${join(folder, 'log')}`, `--define=rows=${this.#database.rows}`],
        ...['--file', script, urlFor(this.#database.url, PGBENCH.schema)],
      ]);
      const after = await this.#database.cpu();
      const latencies = await latenciesIn(folder);
      const rank = (percent) => latencies[Math.max(Math.ceil((latencies.length * percent) / 100), 1) - 1];
      const run = {
        requests: latencies.length,
        perSecond: Number(/^tps = ([\d.]+)/m.exec(stdout)[1]),
        latency: { p50: rank(50), p99: rank(99), max: latencies.at(-1) },
        serverCpu: null,
        postgresCpu: before === null ? null : (after - before) / latencies.length,
      };
      return [run];
    } catch (error) {
      this.missing = `failed: ${
        String(error.stderr ?? error.message)
          .trim()
          .split('\n')[0]
      }`;
      return [];
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
}

function pick(variable) {
  return `\\set ${variable} random(1, :rows)`;
}

/** A statement with its parameters replaced by expressions. */
function inlined({ text }, ...expressions) {
  return `${text.trim().replaceAll(/\$(\d)/g, (_, number) => expressions[number - 1])};`;
}

async function installed() {
  const home = '/usr/lib/postgresql';
  const versions = await readdir(home).catch(() => []);
  return versions.toSorted((a, b) => Number(b) - Number(a)).map((version) => join(home, version, 'bin/pgbench'));
}

async function firstExecutable(programs) {
  for (const program of programs) {
    const runs = await exec(program, ['--version']).then(
      () => true,
      () => false,
    );
    if (runs) return program;
  }
  return undefined;
}

/** The sorted latencies in microseconds: the third field of each log line. */
async function latenciesIn(folder) {
  const logs = (await readdir(folder)).filter((name) => name.startsWith('log'));
  const texts = await Promise.all(logs.map((name) => readFile(join(folder, name), 'utf8')));
  const lines = texts.flatMap((text) => text.trimEnd().split('\n'));
  return lines.map((line) => Number(line.split(' ')[2])).sort((a, b) => a - b);
}
