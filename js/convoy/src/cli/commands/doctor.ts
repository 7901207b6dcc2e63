/** `convoy doctor`: checks everything that Convoy needs, one line for each, with what to do. */
import type { SchemaDefinition } from '../../schema/index.js';
import { DatabaseTools } from '../../server/database-tools.js';
import { loadNative } from '../../server/native.js';
import { isSupportedNode, RECOMMENDED_NODE } from '../../server/node-version.js';
import { currentPlatform, platformTag } from '../../server/platforms.js';
import { findPortOwner } from '../../server/port-owner.js';
import { CodeProblem } from '../code/problem.js';
import { count } from '../count.js';
import { describeDatabase } from '../data/doctor-database.js';
import { type DoctorLine, fail, ok, warn } from '../data/doctor-line.js';
import { checkUrl } from '../data/doctor-url.js';
import { type OutputFlags, runWithOutput } from '../data/output.js';
import { loadProgram } from '../data/project.js';
import { databaseFault } from '../dev/fault.js';
import { loadEnvFiles } from '../env-files.js';
import { devOptionsOf, layoutOf, type ProjectFlags, type ProjectLayout } from '../options.js';
import { isFree } from '../postgres/ports.js';
import type { Terminal } from '../terminal.js';
import { version } from '../version.js';

export interface DoctorFlags extends ProjectFlags, OutputFlags {
  /** A deployed server, with its base path. */
  readonly url?: string;
  readonly port?: string;
  readonly host?: string;
}

export async function runDoctor(flags: DoctorFlags, terminal: Terminal): Promise<void> {
  await runWithOutput(flags, terminal, async (out) => {
    const layout = layoutOf(flags, process.cwd());
    loadEnvFiles(layout.root, process.cwd());
    const lines: DoctorLine[] = [];
    const add = (...more: readonly DoctorLine[]) => {
      for (const line of more) print(line, out);
      lines.push(...more);
    };
    add(nodeLine(process.versions.node));
    const engine = engineLine();
    add(engine);
    const [code, schema] = await checkCode(layout, out);
    add(code);
    if (engine.level !== 'fail') add(...(await checkDatabase(process.env.DATABASE_URL || null, schema)));
    add(await checkPort(flags));
    if (flags.url !== undefined) add(...(await checkUrl(flags.url)));
    const [failed, warned] = (['fail', 'warn'] as const).map(
      (level) => lines.filter((line) => line.level === level).length,
    );
    out.info(`${count(failed ?? 0, 'failure')}, ${count(warned ?? 0, 'warning')}`);
    return { report: { lines }, ok: failed === 0 };
  });
}

function print({ name, level, message, remedy }: DoctorLine, out: Terminal): void {
  const text = `${name}: ${message}${remedy === undefined ? '' : `\n    → ${remedy}`}`;
  if (level === 'ok') out.done(text);
  else if (level === 'warn') out.warn(text);
  else out.fail(text);
}

/** The line about the version of Node, such as `22.1.0`. */
export function nodeLine(node: string): DoctorLine {
  if (!isSupportedNode(node)) {
    return fail('node', `this is Node ${node}`, `install Node ${RECOMMENDED_NODE} or later (the minimum is 20.19)`);
  }
  if (Number.parseInt(node, 10) >= RECOMMENDED_NODE) return ok('node', `Node ${node}`);
  return warn('node', `this is Node ${node}`, `install Node ${RECOMMENDED_NODE} or later, which is recommended`);
}

function engineLine(): DoctorLine {
  try {
    loadNative();
    return ok('engine', `Convoy ${version} for ${platformTag(currentPlatform())}`);
  } catch (error) {
    return fail('engine', error instanceof Error ? error.message : String(error));
  }
}

async function checkCode(layout: ProjectLayout, out: Terminal): Promise<[DoctorLine, SchemaDefinition]> {
  try {
    const { schema } = await loadProgram(layout, out);
    return [ok('code', `schema and functions load (${count(Object.keys(schema.tables).length, 'table')})`), schema];
  } catch (error) {
    const message = error instanceof CodeProblem ? error.format({ color: false }) : String((error as Error).message);
    return [fail('code', message), { tables: {} } as SchemaDefinition];
  }
}

async function checkDatabase(url: string | null, schema: SchemaDefinition): Promise<DoctorLine[]> {
  if (url === null) {
    const remedy = 'set DATABASE_URL for any use but development';
    return [warn('database', 'DATABASE_URL is not set: convoy dev uses the embedded Postgres', remedy)];
  }
  let tools: DatabaseTools | null = null;
  try {
    tools = await DatabaseTools.open(url, schema);
    return describeDatabase(await tools.diagnose(), URL.canParse(url) ? hostOf(new URL(url)) : '');
  } catch (error) {
    const fault = databaseFault(error);
    if (fault !== null && fault.remedy !== null) return [fail('connection', fault.what, fault.remedy)];
    return [fail('connection', error instanceof Error ? error.message : String(error))];
  } finally {
    await tools?.close();
  }
}

/** The host of a database URL; the parameter `host` names the folder of a socket. */
function hostOf(url: URL): string {
  return url.searchParams.get('host') ?? url.hostname;
}

async function checkPort(flags: DoctorFlags): Promise<DoctorLine> {
  const options = { ...flags, watch: false, serve: true };
  const { host, port } = devOptionsOf(options, process.env);
  if (port === 0 || (await isFree(port, host))) return ok('port', `${host}:${port} is free`);
  const owner = await findPortOwner(port);
  const by = owner === null ? 'another program' : `${owner.program} (pid ${owner.pid})`;
  return warn('port', `port ${port} is in use by ${by}`, 'stop it, or choose another port with --port or PORT');
}
