/** Parses the command line. An unknown flag, template or package manager is an error that lists what there is. */
import { createRequire } from 'node:module';
import { Command, Option } from 'commander';
import { PACKAGE_MANAGERS, type PackageManager } from './package-manager.js';
import { exampleNames, TEMPLATES, type TemplateName } from './templates.js';

const { version } = createRequire(import.meta.url)('../package.json') as { version: string };

export interface Options {
  /** The folder as the user wrote it. */
  readonly folder: string | null;
  readonly template: TemplateName | null;
  readonly example: string | null;
  readonly packageManager: PackageManager | null;
  readonly install: boolean;
  readonly git: boolean;
  /** Take the default for everything that is not given. */
  readonly yes: boolean;
}

export function defineCommand(): Command {
  const templates = Object.entries(TEMPLATES).map(([name, { title }]) => `  ${name.padEnd(12)} ${title}`);
  return new Command('create-convoy-app')
    .description('Creates an application on Convoy: live screens on your own Postgres.')
    .argument('[folder]', 'the folder to create; `.` is the current one')
    .addOption(new Option('-t, --template <name>', 'the template').choices(Object.keys(TEMPLATES)))
    .addOption(new Option('-e, --example <name>', 'an example instead of a template').choices(exampleNames()))
    .addOption(
      new Option('-p, --package-manager <name>', 'default: the one that runs this program').choices(PACKAGE_MANAGERS),
    )
    .option('--no-install', 'do not install packages')
    .option('--no-git', 'do not create a Git repository')
    .option('-y, --yes', 'ask nothing; take the defaults')
    .version(version, '--version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .addHelpText('after', `\nTemplates:\n${templates.join('\n')}\n\nExamples: ${exampleNames().join(', ')}`)
    .showHelpAfterError('(create-convoy-app --help lists flags, templates and examples)')
    .allowExcessArguments(false)
    .exitOverride();
}

/** `args` without `node` and the script. */
export function parseCommandLine(args: readonly string[], command = defineCommand()): Options {
  command.parse([...args], { from: 'user' });
  const flags = command.opts<{
    template?: TemplateName;
    example?: string;
    packageManager?: PackageManager;
    install: boolean;
    git: boolean;
    yes?: boolean;
  }>();
  if (flags.template !== undefined && flags.example !== undefined) {
    throw new Error('Give either --template or --example, not both.');
  }
  return {
    folder: command.args[0] ?? null,
    template: flags.template ?? null,
    example: flags.example ?? null,
    packageManager: flags.packageManager ?? null,
    install: flags.install,
    git: flags.git,
    yes: flags.yes ?? false,
  };
}
