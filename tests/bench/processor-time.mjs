// Processor time of a program of several processes, as Linux counts it.
import { readdir, readFile } from 'node:fs/promises';

/** Linux' USER_HZ, fixed for all programs. */
const TICKS_PER_SECOND = 100;

/** Of a process and its children, in microseconds; `null` where /proc is not there to tell. */
export async function processorTime(parentPid) {
  const stats = await allProcesses();
  if (stats === null) return null;
  const ticks = stats
    .filter(({ pid, parent }) => pid === parentPid || parent === parentPid)
    // Of the parent also what its ended children used.
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

/** Fields of proc(5) `stat`, counted from behind the name, which may hold anything. */
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
