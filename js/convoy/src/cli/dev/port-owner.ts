/** Names the program that listens on a port, for a message that tells what to do about it. */
import { execFile } from 'node:child_process';
import { readdir, readFile, readlink } from 'node:fs/promises';

/** Null when nobody can be found: another user's process, another machine's view of it. */
export async function whoListensOn(port: number): Promise<{ pid: number; program: string } | null> {
  return process.platform === 'linux' ? fromProc(port) : fromLsof(port);
}

async function fromProc(port: number): Promise<{ pid: number; program: string } | null> {
  const tables = await Promise.all(['/proc/net/tcp', '/proc/net/tcp6'].map(textOf));
  const sockets = new Set(tables.flatMap((table) => listeningSockets(table, port)).map((inode) => `socket:[${inode}]`));
  if (sockets.size === 0) return null;
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    for (const descriptor of await namesIn(`/proc/${pid}/fd`)) {
      if (!sockets.has(await targetOf(`/proc/${pid}/fd/${descriptor}`))) continue;
      return { pid: Number(pid), program: (await textOf(`/proc/${pid}/comm`)).trim() || 'unknown' };
    }
  }
  return null;
}

/** Inodes of sockets that listen on the port, from the text of /proc/net/tcp. */
export function listeningSockets(table: string, port: number): string[] {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return table.split('\n').flatMap((line) => {
    const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
    return local?.endsWith(wanted) && state === '0A' && inode ? [inode] : [];
  });
}

// Processes come and go, and not all of them let us look; what cannot be read has nothing to say.
const textOf = (file: string) => readFile(file, 'utf8').catch(() => '');
const namesIn = (folder: string) => readdir(folder).catch(() => []);
const targetOf = (link: string) => readlink(link).catch(() => '');

async function fromLsof(port: number): Promise<{ pid: number; program: string } | null> {
  const said = await new Promise<string>((resolve) => {
    execFile('lsof', ['-nP', `-iTCP:${port}`, '-sTCP:LISTEN', '-Fpc'], (_error, stdout) => resolve(stdout));
  });
  const pid = /^p(\d+)$/m.exec(said)?.[1];
  const program = /^c(.+)$/m.exec(said)?.[1];
  return pid && program ? { pid: Number(pid), program } : null;
}
