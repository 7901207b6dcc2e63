// The processor time of a process with its children, on Linux.
import { readdir, readFile } from 'node:fs/promises';

/** Linux' USER_HZ, fixed for all programs. */
const TICKS_PER_SECOND = 100;

/** The processor time of a process and its children in microseconds; `null` without /proc. */
export async function processorTime(parentPid) {
  const stats = await allProcesses();
  if (stats === null) return null;
  const ticks = stats
    .filter(({ pid, parent }) => pid === parentPid || parent === parentPid)
    // For the parent, includes the time of its ended children.
    .map(({ pid, own, ended }) => (pid === parentPid ? own + ended : own))
    .reduce((sum, each) => sum + each, 0);
  return (ticks * 1_000_000) / TICKS_PER_SECOND;
}

async function allProcesses() {
  if (process.platform !== 'linux') return null;
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  // A process may end between the listing and the reading.
  const texts = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null)));
  return texts.filter((text) => text !== null).map(readStat);
}

/** Parses proc(5) `stat`, starting after the name, which may contain spaces and parentheses. */
function readStat(text) {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [user, system, endedUser, endedSystem] = fields.slice(11, 15).map(Number);
  return {
    pid: Number.parseInt(text, 10),
    parent: Number(fields[1]),
    own: user + system,
    ended: endedUser + endedSystem,
  };
}
