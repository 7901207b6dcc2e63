// The ceiling: what Postgres does of the same SQL where nothing is before it.
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
/** As a literal; spaces keep pgbench from taking what follows a colon for a variable. */
const document = `'${JSON.stringify(message, null, 1)}'`;

/** By name. Numbers stand for ids, since pgbench has no text; the rest is as the others send it. */
const SCRIPTS = {
  get: [picks('n'), filled(sql.get, rowId(':n::int'))],
  list: [`\\set n random(0, ${CHANNELS - 1})`, filled(sql.newest, "('channel-' || :n::int)")],
  insert: [filled(sql.insert, document)],
  rmw: [
    picks('n'),
    `${sql.BEGIN};`,
    filled(sql.lockMessage, rowId(':n::int')),
    filled(sql.updateMessage, rowId(':n::int'), document),
    'commit;',
  ],
  transfer: [
    picks('a'),
    picks('b'),
    '\\set b case when :a = :b then 1 + :b % :rows else :b end',
    `${sql.BEGIN};`,
    filled(sql.lockBalances, rowId(':a::int'), rowId(':b::int')),
    filled(sql.move, rowId(':a::int'), rowId(':b::int'), '5'),
    'commit;',
  ],
};

export class Pgbench {
  #program;
  #database;

  /** Why there are no numbers, if so. */
  missing;

  /** @param {Database} database */
  static async find(database) {
    const pgbench = new Pgbench();
    pgbench.#database = database;
    pgbench.#program = await firstThatRuns(['pgbench', ...(await installed())]);
    if (pgbench.#program === undefined) pgbench.missing = 'not installed: neither in PATH nor in /usr/lib/postgresql';
    return pgbench;
  }

  /**
   * One run of whole seconds, or none: where there is no such script, no pgbench,
   * or it fails, which becomes the reason there are no numbers.
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

function picks(variable) {
  return `\\set ${variable} random(1, :rows)`;
}

/** A statement with expressions in place of its parameters. */
function filled({ text }, ...expressions) {
  return `${text.trim().replaceAll(/\$(\d)/g, (_, number) => expressions[number - 1])};`;
}

async function installed() {
  const home = '/usr/lib/postgresql';
  const versions = await readdir(home).catch(() => []);
  return versions.toSorted((a, b) => Number(b) - Number(a)).map((version) => join(home, version, 'bin/pgbench'));
}

async function firstThatRuns(programs) {
  for (const program of programs) {
    const runs = await exec(program, ['--version']).then(
      () => true,
      () => false,
    );
    if (runs) return program;
  }
  return undefined;
}

/** Microseconds, sorted: the third word of each line of its logs. */
async function latenciesIn(folder) {
  const logs = (await readdir(folder)).filter((name) => name.startsWith('log'));
  const texts = await Promise.all(logs.map((name) => readFile(join(folder, name), 'utf8')));
  const lines = texts.flatMap((text) => text.trimEnd().split('\n'));
  return lines.map((line) => Number(line.split(' ')[2])).sort((a, b) => a - b);
}
