/**
 * Defines the commands and flags of `convoy` and their help texts. An unknown one is an error that suggests the closest
 * name.
 */
import { Command } from 'commander';
import { runBuild } from './commands/build.js';
import { runDev } from './commands/dev.js';
import { runGenerate } from './commands/generate.js';
import { runMigrate } from './commands/migrate.js';
import { type OpenApiFlags, runOpenApi } from './commands/openapi.js';
import { runRun } from './commands/run.js';
import { runStart } from './commands/start.js';
import { runWhy, type WhyFlags } from './commands/why.js';
import { defineDataCommands } from './data-commands.js';
import type { BuildFlags, DevFlags, MigrateFlags, ProjectFlags, RunFlags, StartFlags } from './options.js';
import type { Terminal } from './terminal.js';
import { version } from './version.js';

/** `args` is the command line that is to be parsed. */
export function defineCommands(terminal: Terminal, args: readonly string[] = []): Command {
  const program = new Command('convoy')
    .description('A reactive backend on your own Postgres.')
    .version(version, '--version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .showHelpAfterError('(convoy --help lists commands and flags)')
    .exitOverride();

  const withProjectFlags = (command: Command) =>
    command
      .option('--root <folder>', 'the folder that holds convoy/', '.')
      .option('--schema <file>', 'the schema, from the root', 'convoy/schema.ts')
      .option('-v, --verbose', 'print more, including stack traces')
      .exitOverride();

  withProjectFlags(program.command('dev').alias('init'))
    .summary('start a database and the server, and keep both up to date with your code')
    .description(
      'Starts a database when DATABASE_URL is not set, creates missing tables, writes convoy/_generated, serves, ' +
        'and reloads changed code without dropping connections. After --, it runs a server of yours instead of its own, ' +
        'with DATABASE_URL set: convoy dev -- next dev',
    )
    .argument('[command...]', 'after --: the server to run, which passes requests to createConvoy')
    .option('--watch', 'reload changed code', true)
    .option('--no-watch', 'do not watch for changes')
    .option('--serve', 'listen for clients', true)
    .option('--no-serve', 'do not listen')
    .option('--no-types', 'do not check types')
    .option('--once', 'update the database and the generated files, then exit')
    .option('--port <port>', 'the port to listen on (PORT, or 3000)')
    .option('--host <host>', 'the address to listen on (HOST, or 127.0.0.1)')
    .option('--metrics <address>', 'serve metrics to Prometheus: a port on 127.0.0.1, or host:port')
    .action((words: readonly string[], flags: DevFlags, command: Command) => {
      if (words.length > 0 && !args.includes('--')) {
        command.error(
          `error: unexpected '${words[0]}'; to run a server of yours, write: convoy dev -- ${words.join(' ')}`,
        );
      }
      return runDev({ ...flags, command: words }, terminal);
    });

  withProjectFlags(program.command('generate'))
    .summary('write convoy/_generated')
    .description('Writes convoy/_generated from schema and functions. Needs no database.')
    .action((flags: ProjectFlags) => runGenerate(flags, terminal));

  const json = ['--json', 'print the result as one JSON object; progress goes to standard error'] as const;
  const build = ['--build <folder>', 'use built code (convoy-build, where there are no sources)'] as const;

  withProjectFlags(program.command('build'))
    .summary('bundle the project for convoy start')
    .description(
      'Bundles schema and functions with the packages they import into one folder, which needs only Node, ' +
        '@avvos/convoy and zod. The same sources give the same files.',
    )
    .option('--out <folder>', 'the folder to write, from the root (convoy-build)')
    .option(...json)
    .action((flags: BuildFlags) => runBuild(flags, terminal));

  withProjectFlags(program.command('start'))
    .summary('serve built code in production')
    .description(
      'Serves the folder of convoy build. Takes its settings from the environment (DATABASE_URL, PORT, HOST, …) and ' +
        'convoy.config.ts, and never changes the database; convoy migrate does. On SIGTERM, calls in flight have nine seconds.',
    )
    .option('--build <folder>', 'the folder of convoy build, from the root (convoy-build)')
    .option('--port <port>', 'the port to listen on (PORT, or 3000)')
    .option('--host <host>', 'the address to listen on (HOST, or 0.0.0.0)')
    .option('--workers <count>', 'threads that run functions (CONVOY_WORKERS, or the number of cores)')
    .option('--metrics <address>', 'serve metrics to Prometheus: a port on 127.0.0.1, or host:port')
    .option('--log-format <format>', 'the form of the log: pretty or json (CONVOY_LOG_FORMAT, or pretty)')
    .option('--static <folder>', 'serve the files of a built front end, such as dist, from the root')
    .option('--json', 'print each line as a JSON object')
    .action((flags: StartFlags) => runStart(flags, terminal));

  withProjectFlags(program.command('migrate').alias('deploy'))
    .summary('bring the database up to date with the schema')
    .description(
      'Writes convoy/_generated, shows a plan, and creates what the database lacks while it stays in use. ' +
        'Never drops anything. Asks first, or needs --yes, where the plan has warnings.',
    )
    .option('--dry-run', 'only show the plan, with its SQL')
    .option('-y, --yes', 'apply a plan that has warnings without asking')
    .option('--backfill', 'write constant defaults into stored documents that lack them')
    .option('--skip-db', 'only write convoy/_generated')
    .option(...build)
    .option(...json)
    .action((flags: MigrateFlags) => runMigrate(flags, terminal));

  withProjectFlags(program.command('run'))
    .summary('call a function, internal ones too')
    .description(
      'Calls a function with its input as JSON, and prints its result as JSON. Progress, errors and what the function ' +
        'prints go to standard error.',
    )
    .argument('<name>', 'the function, such as messages.list')
    .argument('[json]', 'its input, such as \'{"room":"lobby"}\'; - reads it from standard input ({})')
    .option('-w, --watch', 'print each new result of a query as a line, until Ctrl-C')
    .option('--context <json>', 'the context of the call, instead of calling createContext')
    .option(...build)
    .option('--json', 'print { "ok": true, "data": … } or { "ok": false, "error": … }')
    .action((name: string, input: string | undefined, flags: RunFlags) => runRun(name, input, flags));

  withProjectFlags(program.command('why'))
    .summary('say why live queries ran, and what would avoid wasted runs')
    .description(
      'Asks the running server of convoy dev why the live queries of a function ran: which commit, document and read, ' +
        'and how many runs gave the answer that there was before. Says which index or read would avoid these.',
    )
    .argument('[query]', 'the function, such as messages.list; without one, the wasted runs of all functions')
    .argument('[json]', 'only its live query with this input, such as \'{"room":"lobby"}\'')
    .option('--url <url>', 'the base URL of the API, such as http://127.0.0.1:3000/api')
    .option('--port <port>', 'the port of the server on this machine (PORT, or 3000)')
    .option('--json', 'print the result as JSON, and everything else to standard error')
    .action((query: string | undefined, input: string | undefined, flags: WhyFlags) =>
      runWhy(query, input, flags, terminal),
    );

  withProjectFlags(program.command('openapi'))
    .summary('print the OpenAPI document of the public functions')
    .description(
      'Prints an OpenAPI 3.1 document of the functions that clients may call, with their arguments, results and errors. ' +
        'Needs no database.',
    )
    .option('--out <file>', 'write a file instead of printing')
    .option('--title <title>', 'the name of the application (the name in package.json)')
    .option('--app-version <version>', 'the version of the application (the version in package.json)')
    .option('--server <urls...>', 'the URLs of the servers')
    .option(...build)
    .action((flags: OpenApiFlags) => runOpenApi(flags));

  defineDataCommands(program, withProjectFlags, terminal);

  return program;
}
