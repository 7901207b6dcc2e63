/** The `convoy` program. */
import { runCli } from './run.js';

process.exitCode = await runCli(process.argv.slice(2));
// User code loaded here may hold timers and connections open; the command is over all the same.
process.exit();
