/** Defines the commands for data: `export`, `import`, `seed`, `check` and `doctor`. */
import type { Command } from 'commander';
import { type CheckFlags, runCheck } from './commands/check.js';
import { type CheckLiveFlags, runCheckLive } from './commands/check-live.js';
import { type DoctorFlags, runDoctor } from './commands/doctor.js';
import { type ExportFlags, runExport } from './commands/export.js';
import { type ImportFlags, runImport } from './commands/import.js';
import { runSeed, type SeedFlags } from './commands/seed.js';
import type { Terminal } from './terminal.js';

const EXIT_CODES = {
  export: 'Exits with 0, or with 1 after an error. Run it again to continue an interrupted export.',
  import: 'Exits with 0, or with 1 if lines were rejected or after an error. Run it again to continue.',
  seed: 'Exits with 0, or with 1 if the database contains documents, lines were rejected, or after an error.',
  check:
    'Exits with 0, or with 1 if there are differences or documents that do not fit, with --live above a threshold, or after an error.',
  doctor: 'Exits with 0, or with 1 if a line is a failure.',
};

/** Adds the commands; `withProjectFlags` adds the flags that all commands have. */
export function defineDataCommands(
  program: Command,
  withProjectFlags: (command: Command) => Command,
  terminal: Terminal,
): void {
  const command = (name: keyof typeof EXIT_CODES, args = '') =>
    withProjectFlags(program.command(`${name}${args}`))
      .option('--json', 'print the result as JSON, and everything else to standard error')
      .addHelpText('after', `\n${EXIT_CODES[name]}`);

  command('export', ' <to>')
    .summary('write all documents to a folder or a .tar file')
    .description(
      'Writes all documents, one JSON line each with its id and times, and a manifest with checksums, from one ' +
        'snapshot of the database.',
    )
    .option('--tables <names>', 'only these tables, separated by commas')
    .option('--force', 'replace an export that exists')
    .action((to: string, flags: ExportFlags) => runExport(to, flags, terminal));

  command('import', ' <from>')
    .summary("store the documents of an export, of Convex's export, or of <table>.jsonl files")
    .description(
      'Stores documents from a folder, a .tar or a .zip file, with their ids and times. Validates each against the ' +
        'schema; lines that cannot be stored are listed and written to <from>.rejected.jsonl.',
    )
    .option('--tables <names>', 'only these tables, separated by commas')
    .option('--replace', 'overwrite documents that exist and differ')
    .option('--dry-run', 'validate all lines and write nothing to the database')
    .action((from: string, flags: ImportFlags) => runImport(from, flags, terminal));

  command('seed', ' [from]')
    .summary('fill an empty database by convoy/seed.ts or convoy/seed/*.jsonl')
    .description(
      'Creates missing tables, and runs the default-exported function of convoy/seed.ts as a mutation, or imports the ' +
        'files in convoy/seed/.',
    )
    .option('--force', 'seed a database that contains documents')
    .action((from: string | undefined, flags: SeedFlags) => runSeed(from, flags, terminal));

  command('check')
    .summary('compare code, database and documents')
    .description(
      'Reports differences between the schema and the tables, columns, indexes, triggers, functions and privileges of ' +
        'the database, documents that do not fit, and indexes that are not used. Changes nothing in the database.',
    )
    .option('--all', 'check all documents instead of a sample of each large table')
    .option(
      '--live',
      'instead, run the queries, and report which writes would run them again and which indexes they lack',
    )
    .option('--inputs <file>', 'with --live: inputs, such as { "messages.list": [{ "room": "hall" }] }')
    .option('--context <json>', 'with --live: the context of the calls, instead of calling createContext')
    .option('--max-fan-out <n>', 'with --live: exit with 1 if a write would run more live queries than this')
    .option('--max-whole-reads <n>', 'with --live: exit with 1 if queries read more whole tables than this')
    .option('--max-missing-indexes <n>', 'with --live: exit with 1 if queries lack more indexes than this')
    .option(
      '--max-not-run <n>',
      'with --live: exit with 1 if more queries than this could not be run (0 where another threshold is given)',
    )
    .option('--url <url>', 'with --live: the API of the server whose live queries have inputs to use')
    .option('--port <port>', 'with --live: its port on this machine (PORT, or 3000)')
    .action(({ live = false, ...flags }: CheckFlags & CheckLiveFlags & { readonly live?: boolean }) =>
      live ? runCheckLive(flags, terminal) : runCheck(flags, terminal),
    );

  command('doctor')
    .summary('check Node, engine, code, database, port and a deployed server')
    .description('Prints one line for each thing that Convoy needs, with what to do about warnings and failures.')
    .option('--url <url>', 'also check a deployed server through its proxies, such as https://example.com/api')
    .option('--port <port>', 'the port to check (PORT, or 3000)')
    .option('--host <host>', 'the address to check (HOST, or 127.0.0.1)')
    .action((flags: DoctorFlags) => runDoctor(flags, terminal));
}
