/** The database of `convoy dev`: the one DATABASE_URL names, or the project's embedded Postgres. */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { ProjectLayout } from '../options.js';
import { describePostgresEvent, type PostgresEvent, startEmbeddedPostgres } from '../postgres/index.js';
import type { Terminal } from '../terminal.js';

export interface DevDatabase {
  /** What it was opened by; `null` is the embedded Postgres. */
  readonly asked: string | null;
  readonly url: string;
  /** What may be shown of it. */
  readonly shown: string;
  stop(): Promise<void>;
}

export async function openDatabase(
  url: string | null,
  layout: ProjectLayout,
  terminal: Terminal,
): Promise<DevDatabase> {
  if (url !== null) return { asked: url, url, shown: withoutPassword(url), stop: async () => {} };
  await prepareStateFolder(layout);
  // Until Postgres is up, events are the progress of one step; after that, each is news.
  let tell: (event: PostgresEvent) => void;
  const postgres = await terminal.step('Starting Postgres', async (step) => {
    tell = (event) => {
      if (event.kind === 'ready') step.result(capitalized(describePostgresEvent(event)));
      else step.now(capitalized(describePostgresEvent(event)));
    };
    return startEmbeddedPostgres({ dataRoot: layout.stateFolder, onEvent: (event) => tell(event) });
  });
  tell = (event) => announce(event, terminal);
  return { asked: null, url: postgres.url, shown: postgres.url, stop: () => postgres.stop() };
}

/** Local state is nobody else's: it holds data, a password and built code. */
export async function prepareStateFolder({ stateFolder }: ProjectLayout): Promise<void> {
  await mkdir(stateFolder, { recursive: true });
  await writeFile(path.join(stateFolder, '.gitignore'), '*\n');
}

/** After a start that came to nothing: removes the folder where it holds nothing but what that start has built. */
export async function removeUnusedState({ stateFolder, buildFolder }: ProjectLayout): Promise<void> {
  await rm(buildFolder, { recursive: true, force: true });
  const left = await readdir(stateFolder).catch(() => []);
  if (left.every((name) => name === '.gitignore')) await rm(stateFolder, { recursive: true, force: true });
}

function announce(event: PostgresEvent, terminal: Terminal): void {
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

/** Never fails: a URL that is not usable is refused by the engine, which says what is wrong with it. */
function withoutPassword(text: string): string {
  if (!URL.canParse(text)) return 'DATABASE_URL';
  const url = new URL(text);
  if (url.password) url.password = '…';
  const parameters = url.search.slice(1).split('&');
  url.search = parameters.map(withoutSecret).join('&');
  return readable(url.href);
}

/** Parameters that hold no secret. Any other may, also one that is misspelt. */
const OPEN = /^(ssl-?mode|host|hostaddr|port|user|dbname|application_name|options.*)$/;

function withoutSecret(parameter: string): string {
  const [name = '', ...value] = parameter.split('=');
  return value.length === 0 || OPEN.test(name) ? parameter : `${name}=…`;
}

/** As people write it, where its percent signs allow that. */
function readable(text: string): string {
  // Piece by piece, so that one broken escape does not leave the others encoded.
  return text.replace(/(?:%[0-9a-f]{2})+/gi, (escapes) => {
    try {
      return decodeURI(escapes);
    } catch {
      return escapes;
    }
  });
}
