/** Parses flags and environment variables into the options of a command. Pure; an error names the flag or variable. */
import path from 'node:path';

export interface ProjectFlags {
  readonly root: string;
  readonly schema: string;
  readonly verbose?: boolean;
}

export interface DevFlags extends ProjectFlags {
  readonly watch: boolean;
  readonly serve: boolean;
  readonly once?: boolean;
  readonly port?: string;
  readonly host?: string;
}

/** The files and folders of a project, as absolute paths. */
export interface ProjectLayout {
  readonly root: string;
  readonly convoyFolder: string;
  readonly schemaFile: string;
  readonly functionsFolder: string;
  /** Optional: exports `createContext`. */
  readonly serverFile: string;
  readonly generatedFolder: string;
  /** Local state: the embedded Postgres and built code. Never checked in. */
  readonly stateFolder: string;
  readonly buildFolder: string;
}

export interface DevOptions {
  readonly databaseUrl: string | null;
  readonly watch: boolean;
  readonly serve: boolean;
  readonly host: string;
  readonly port: number;
}

export function layoutOf(flags: ProjectFlags, cwd: string): ProjectLayout {
  const root = path.resolve(cwd, flags.root);
  const convoyFolder = path.join(root, 'convoy');
  const stateFolder = path.join(root, '.convoy');
  return {
    root,
    convoyFolder,
    schemaFile: path.resolve(root, flags.schema),
    functionsFolder: path.join(convoyFolder, 'functions'),
    serverFile: path.join(convoyFolder, 'server.ts'),
    generatedFolder: path.join(convoyFolder, '_generated'),
    stateFolder,
    buildFolder: path.join(stateFolder, 'build'),
  };
}

/** The options of `convoy dev`. `env` includes the `.env` files; an empty variable counts as missing. */
export function devOptionsOf(flags: DevFlags, env: Readonly<Record<string, string | undefined>>): DevOptions {
  const once = flags.once ?? false;
  return {
    databaseUrl: env.DATABASE_URL || null,
    watch: flags.watch && !once,
    serve: flags.serve && !once,
    host: flags.host || env.HOST || '127.0.0.1',
    port: flags.port !== undefined ? parsePort(flags.port, '--port') : parsePort(env.PORT || '3000', 'PORT'),
  };
}

function parsePort(text: string, source: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text) && port <= 65_535) return port;
  throw new Error(`${source} is ${JSON.stringify(text)}, which is not a port: give a number from 0 to 65535.`);
}
