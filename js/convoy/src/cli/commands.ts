/**
 * Defines the commands and flags of `convoy` and their help texts. An unknown one is an error that suggests the closest
 * name.
 */
import { createRequire } from 'node:module';
import { Command } from 'commander';
import { runDev } from './commands/dev.js';
import { runGenerate } from './commands/generate.js';
import type { DevFlags, ProjectFlags } from './options.js';
import type { Terminal } from './terminal.js';

const { version } = createRequire(import.meta.url)('../../package.json') as { version: string };

export function defineCommands(terminal: Terminal): Command {
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
        'and reloads changed code without dropping connections.',
    )
    .option('--watch', 'reload changed code', true)
    .option('--no-watch', 'do not watch for changes')
    .option('--serve', 'listen for clients', true)
    .option('--no-serve', 'do not listen')
    .option('--once', 'update the database and the generated files, then exit')
    .option('--port <port>', 'the port to listen on (PORT, or 3000)')
    .option('--host <host>', 'the address to listen on (HOST, or 127.0.0.1)')
    .action((flags: DevFlags) => runDev(flags, terminal));

  withProjectFlags(program.command('generate'))
    .summary('write convoy/_generated')
    .description('Writes convoy/_generated from schema and functions. Needs no database.')
    .action((flags: ProjectFlags) => runGenerate(flags, terminal));

  return program;
}
