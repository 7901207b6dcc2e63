/** The database of `convoy dev`: the one DATABASE_URL names, or the project's embedded Postgres. */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { ProjectLayout } from '../options.js';
import { describePostgresEvent, type PostgresEvent, startEmbeddedPostgres } from '../postgres/index.js';
import type { Terminal } from '../terminal.js';

export interface DevDatabase {
  /** The `DATABASE_URL` it was opened with; `null` for the embedded Postgres. */
  readonly configuredUrl: string | null;
  readonly url: string;
  /** The URL without secrets, for printing. */
  readonly displayUrl: string;
  stop(): Promise<void>;
}

export async function openDatabase(
  url: string | null,
  layout: ProjectLayout,
  terminal: Terminal,
): Promise<DevDatabase> {
  if (url !== null) return { configuredUrl: url, url, displayUrl: withoutPassword(url), stop: async () => {} };
  await prepareStateFolder(layout);
  // Until Postgres is up, events are the progress of one step; after that, each is printed on its own.
  let onEvent: (event: PostgresEvent) => void;
  const postgres = await terminal.step('Starting Postgres', async (step) => {
    onEvent = (event) => {
      if (event.kind === 'ready') step.result(capitalized(describePostgresEvent(event)));
      else step.now(capitalized(describePostgresEvent(event)));
    };
    return startEmbeddedPostgres({ dataRoot: layout.stateFolder, onEvent: (event) => onEvent(event) });
  });
  onEvent = (event) => printEvent(event, terminal);
  return { configuredUrl: null, url: postgres.url, displayUrl: postgres.url, stop: () => postgres.stop() };
}

/** Creates the folder for local state. It stays out of Git: it holds data, a password and built code. */
export async function prepareStateFolder({ stateFolder }: ProjectLayout): Promise<void> {
  await mkdir(stateFolder, { recursive: true });
  await writeFile(path.join(stateFolder, '.gitignore'), '*\n');
}

/** Removes the state folder after a failed start, unless it holds more than the files that this start created. */
export async function removeUnusedState({ stateFolder, buildFolder }: ProjectLayout): Promise<void> {
  await rm(buildFolder, { recursive: true, force: true });
  const left = await readdir(stateFolder).catch(() => []);
  if (left.every((name) => name === '.gitignore')) await rm(stateFolder, { recursive: true, force: true });
}

function printEvent(event: PostgresEvent, terminal: Terminal): void {
  const text = capitalized(describePostgresEvent(event));
  switch (event.kind) {
    case 'exited':
    case 'restart failed':
      terminal.warn(text);
      break;
    case 'ready':
      terminal.done(text);
      break;
    case 'stopping':
    case 'stopped':
      terminal.detail(text);
      break;
    default:
      terminal.info(text);
  }
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** The URL without secrets. Never throws: the engine rejects an invalid URL with a reason. */
function withoutPassword(text: string): string {
  if (!URL.canParse(text)) return 'DATABASE_URL';
  const url = new URL(text);
  if (url.password) url.password = '…';
  const parameters = url.search.slice(1).split('&');
  url.search = parameters.map(withoutSecret).join('&');
  return decodeEscapes(url.href);
}

/** Parameters that hold no secret. Any other parameter is masked, since it may be a misspelt secret. */
const PUBLIC_PARAMETERS = /^(ssl-?mode|host|hostaddr|port|user|dbname|application_name|options.*)$/;

function withoutSecret(parameter: string): string {
  const [name = '', ...value] = parameter.split('=');
  return value.length === 0 || PUBLIC_PARAMETERS.test(name) ? parameter : `${name}=…`;
}

/** Decodes percent escapes for display; an invalid escape stays as it is. */
function decodeEscapes(text: string): string {
  // Each run is decoded separately, so that one invalid escape does not leave the others encoded.
  return text.replace(/(?:%[0-9a-f]{2})+/gi, (escapes) => {
    try {
      return decodeURI(escapes);
    } catch {
      return escapes;
    }
  });
}
