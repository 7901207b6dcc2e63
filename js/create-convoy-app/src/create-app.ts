/**
 * Creates a project: asks for what is missing, writes the files, installs the packages and makes the first commit.
 *
 * Files that exist are never changed. What fails after the files are written leaves a project that the user can finish
 * with the commands that are printed.
 */
import path from 'node:path';
import { createRepository } from './git.js';
import type { Options } from './options.js';
import { detectPackageManager, installCommand, type PackageManager, scriptCommand } from './package-manager.js';
import { nameProblem, type ProjectPlace, projectPlace } from './project-name.js';
import { CommandFailed, runCommand } from './run-command.js';
import { inspectTarget, listed } from './target-folder.js';
import {
  DEFAULT_TEMPLATE,
  exampleSource,
  type ProjectSource,
  TEMPLATES,
  type TemplateName,
  templateSource,
} from './templates.js';
import { Cancelled, type Choice, type Terminal } from './terminal.js';
import { projectFiles, writeProject } from './write-project.js';

export interface Surroundings {
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly terminal: Terminal;
}

const DEFAULT_FOLDER = 'my-app';

/** Resolves to the exit code; rejects with a message for the user. */
export async function createApp(options: Options, { cwd, env, terminal }: Surroundings): Promise<number> {
  const asks = terminal.canAsk && !options.yes;
  const manager = options.packageManager ?? detectPackageManager(env);
  terminal.intro('create-convoy-app');
  try {
    let given = options.folder ?? (asks ? await askFolder(terminal, cwd) : unaskedFolder(options));
    const source = await chooseSource(options, asks ? terminal : null);
    let place = projectPlace(given, cwd);
    const files = projectFiles(source, manager);
    while ((await settleFolder(place, files, asks ? terminal : null)) === 'another') {
      given = await askFolder(terminal, cwd);
      place = projectPlace(given, cwd);
    }
    await writeProject(source, place, manager);
    return await finish(place, { options, manager, cwd, terminal });
  } catch (error) {
    if (!(error instanceof Cancelled)) throw error;
    terminal.cancelled('Cancelled. Nothing was created.');
    return 1;
  }
}

function askFolder(terminal: Terminal, cwd: string): Promise<string> {
  return terminal.askText('Where should the project be created?', {
    initial: DEFAULT_FOLDER,
    problemOf: (answer) => nameProblem(path.basename(path.resolve(cwd, answer.trim()))),
  });
}

function unaskedFolder({ yes }: Options): string {
  if (yes) return DEFAULT_FOLDER;
  throw new Error('Give the folder to create, such as: create-convoy-app my-app');
}

async function chooseSource({ template, example, yes }: Options, terminal: Terminal | null): Promise<ProjectSource> {
  if (example !== null) return exampleSource(example);
  if (template !== null || terminal === null || yes) return templateSource(template ?? DEFAULT_TEMPLATE);
  const choices = Object.entries(TEMPLATES).map(
    ([value, { title, hint }]): Choice<TemplateName> => ({ value: value as TemplateName, label: title, hint }),
  );
  return templateSource(await terminal.choose('Which template?', choices));
}

/** Whether the project can be created there. Without a terminal, a folder that is in use is an error. */
async function settleFolder(
  { folder, name }: ProjectPlace,
  files: readonly string[],
  terminal: Terminal | null,
): Promise<'use' | 'another'> {
  const { present, conflicts } = await inspectTarget(folder, files);
  if (present.length === 0) return 'use';
  if (terminal === null) {
    throw new Error(
      `The folder ${folder} is not empty: it contains ${listed(present)}. ` +
        'Choose another folder, or move these away. Nothing was changed.',
    );
  }
  const beside: Choice<'use'>[] =
    conflicts.length === 0
      ? [{ value: 'use', label: 'Create the project beside them', hint: 'changes none of them' }]
      : [];
  const clash = conflicts.length === 0 ? '' : ` The project has files of the same names: ${listed(conflicts)}.`;
  const answer = await terminal.choose(`The folder ${name} is not empty: it contains ${listed(present)}.${clash}`, [
    ...beside,
    { value: 'another', label: 'Choose another folder' },
    { value: 'cancel', label: 'Cancel' },
  ]);
  if (answer === 'cancel') throw new Cancelled();
  return answer;
}

interface Finish extends Pick<Surroundings, 'cwd' | 'terminal'> {
  readonly options: Options;
  readonly manager: PackageManager;
}

/** After the files: packages, repository, and what to type. */
async function finish({ folder }: ProjectPlace, { options, manager, cwd, terminal }: Finish): Promise<number> {
  const installed = options.install && (await install(folder, manager, terminal));
  if (options.git) await commit(folder, terminal);
  const below = path.relative(cwd, folder);
  terminal.outro('Now type:', [
    ...(below === '' ? [] : [`cd ${/\s/.test(below) ? JSON.stringify(below) : below}`]),
    ...(installed ? [] : [installCommand(manager)]),
    scriptCommand(manager, 'dev'),
  ]);
  return installed || !options.install ? 0 : 1;
}

async function install(folder: string, manager: PackageManager, terminal: Terminal): Promise<boolean> {
  try {
    await terminal.step(`Installing packages with ${manager}`, async () => {
      await runCommand(manager, ['install'], folder);
      return 'Installed the packages';
    });
    return true;
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    terminal.warn(`${error.message}. The project is created; install its packages yourself.\n\n${error.output}`);
    return false;
  }
}

async function commit(folder: string, terminal: Terminal): Promise<void> {
  try {
    await terminal.step('Creating a Git repository', async () => {
      const outcome = await createRepository(folder);
      return outcome === 'created'
        ? 'Created a Git repository with a first commit'
        : `Created no Git repository: ${outcome === 'not installed' ? 'Git is not installed' : 'the folder is in one'}`;
    });
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    terminal.warn(`${error.message}. The project is created without a first commit.\n\n${error.output}`);
  }
}
