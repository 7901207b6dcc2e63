/** A PgBouncer in transaction mode in front of a Postgres. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { freePort } from '../free-port.js';

/** Its path. Debian installs it in a folder that is only in root's PATH. */
export function findPgBouncer(): string | null {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin'];
  return folders.map((folder) => join(folder, 'pgbouncer')).find((file) => existsSync(file)) ?? null;
}

export class PgBouncer {
  readonly url: string;
  readonly #process: ChildProcess;
  readonly #folder: string;

  private constructor(url: string, child: ChildProcess, folder: string) {
    this.url = url;
    this.#process = child;
    this.#folder = folder;
  }

  /** Resolves when it accepts connections. */
  static async start(program: string, to: string): Promise<PgBouncer> {
    const { hostname, port, username, password, pathname } = new URL(to);
    const [folder, own] = [await mkdtemp(join(tmpdir(), 'convoy-pgbouncer-')), await freePort()];
    const [users, settings] = [join(folder, 'users'), join(folder, 'pgbouncer.ini')];
    await writeFile(users, `"${username}" "${password}"\n`);
    await writeFile(
      settings,
      `[databases]
${pathname.slice(1)} = host=${hostname} port=${port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${own}
auth_type = plain
auth_file = ${users}
pool_mode = transaction
unix_socket_dir =
`,
    );
    for (const [file, mode] of [
      [folder, 0o755],
      [users, 0o644],
      [settings, 0o644],
    ] as const)
      await chmod(file, mode);
    // It refuses to run as root.
    const user = process.getuid?.() === 0 ? ['-u', 'nobody'] : [];
    const child = spawn(program, [...user, settings], { stdio: ['ignore', 'ignore', 'pipe'] });
    for await (const line of createInterface({ input: child.stderr })) if (line.includes('process up')) break;
    child.stderr.resume();
    const url = Object.assign(new URL(to), { port: String(own) }).href;
    return new PgBouncer(url, child, folder);
  }

  async stop(): Promise<void> {
    const ended = once(this.#process, 'close');
    this.#process.kill('SIGTERM');
    this.#process.kill('SIGINT');
    await ended;
    await rm(this.#folder, { recursive: true });
  }
}
