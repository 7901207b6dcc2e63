/** The `convoy` program. */
import { runCli } from './run.js';

process.exitCode = await runCli(process.argv.slice(2));
// User code loaded here may keep timers and connections open, which must not delay the exit.
process.exit();
