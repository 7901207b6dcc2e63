/** Opens a page in the developer's browser. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** Rejects with what to do, if no browser can be opened. */
export async function openBrowser(url: string, platform: NodeJS.Platform = process.platform): Promise<void> {
  const [program, ...args] = commandFor(platform, url);
  const child = spawn(program, args, { stdio: 'ignore', detached: true });
  try {
    await once(child, 'spawn');
  } catch (cause) {
    throw new Error(`No browser can be opened here (${program} is missing). Open ${url} yourself.`, { cause });
  }
  child.unref();
}

function commandFor(platform: NodeJS.Platform, url: string): [string, ...string[]] {
  if (platform === 'darwin') return ['open', url];
  if (platform === 'win32') return ['rundll32', 'url.dll,FileProtocolHandler', url];
  return ['xdg-open', url];
}
