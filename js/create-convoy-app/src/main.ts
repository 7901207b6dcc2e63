/** The `create-convoy-app` program: runs one command line and maps its result to an exit code. */
import { CommanderError } from 'commander';
import { createApp } from './create-app.js';
import { parseCommandLine } from './options.js';
import { terminal } from './terminal.js';

async function main(args: readonly string[]): Promise<number> {
  try {
    return await createApp(parseCommandLine(args), {
      cwd: process.cwd(),
      env: process.env,
      terminal: terminal({ canAsk: process.stdin.isTTY === true && process.stdout.isTTY === true }),
    });
  } catch (error) {
    // Commander has already printed the usage error or the requested help.
    if (error instanceof CommanderError) return error.exitCode;
    console.error(`✖ ${error instanceof Error ? error.message : String(error)}`);
    return 1;
  }
}

process.exitCode = await main(process.argv.slice(2));
