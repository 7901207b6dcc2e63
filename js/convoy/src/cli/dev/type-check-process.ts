/**
 * The process that runs `tsc --watch` for `type-check.ts`, and ends it when the channel to `convoy dev` closes: `tsc` may
 * be a wrapper that leaves the compiler running, and `convoy dev` may be killed.
 */
import { spawn } from 'node:child_process';

const compiler = spawn(process.execPath, process.argv.slice(2), {
  stdio: ['ignore', 'inherit', 'ignore'],
  // A group of its own, which is ended as a whole.
  detached: process.platform !== 'win32',
});
compiler.once('error', (error) => {
  process.stderr.write(String(error));
  process.exit(1);
});
compiler.once('exit', (code) => process.exit(code ?? 1));
process.once('disconnect', stop);
// The channel may have closed before this module was loaded.
if (!process.connected) stop();

/** This process exits when the compiler has ended. */
function stop(): void {
  const { pid } = compiler;
  if (pid === undefined) return;
  if (process.platform === 'win32') {
    spawn('taskkill', ['/pid', String(pid), '/T', '/F'], { stdio: 'ignore' });
    return;
  }
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}
