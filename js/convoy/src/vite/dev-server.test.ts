import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DevProblem } from '../cli/dev/report.js';
import { DevServer, DevServers } from './dev-server.js';

const settings = { root: '/project', schema: 'convoy/schema.ts', port: 0, verbose: false };

/** Programs in the place of `convoy dev`, by what they do. */
const programs = {
  serves: `
    const settings = JSON.parse(process.argv[2]);
    process.send({ kind: 'print', text: 'root is ' + settings.root });
    process.send({ kind: 'serving', url: 'http://127.0.0.1:7' });
    process.send({ kind: 'loaded' });
    process.on('message', ({ kind }) => { if (kind === 'stop') process.exit(); });`,
  fails: `
    process.send({ kind: 'problem', problem: { message: 'no database', diagnostics: [] } }, () => process.exit(1));`,
  breaks: `
    process.send({ kind: 'serving', url: 'http://127.0.0.1:7' });
    process.send({ kind: 'loaded' });
    process.send({ kind: 'problem', problem: { message: 'broken', diagnostics: [] } });
    process.send({ kind: 'problem', problem: { message: 'worse', diagnostics: [] } });
    process.send({ kind: 'loaded' });
    process.send({ kind: 'loaded' }, () => process.exit(3));`,
};

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'convoy-dev-server-'));
  for (const [name, text] of Object.entries(programs)) writeFileSync(path.join(folder, `${name}.mjs`), text);
});
afterAll(() => rmSync(folder, { recursive: true }));

const programAt = (name: keyof typeof programs) => path.join(folder, `${name}.mjs`);

/** Resolves with the reason when the process has ended by itself. */
const endOf = (server: DevServer) => new Promise<string>((resolve) => server.onEnd(resolve));

describe('the process', () => {
  it('is settled when the code is loaded, and serves at the URL it reports until it is stopped', async () => {
    const server = new DevServer(settings, programAt('serves'));
    await server.settled;
    expect([server.url, server.problem]).toEqual(['http://127.0.0.1:7', null]);
    const printed: string[] = [];
    server.onPrint((text) => printed.push(text));
    expect(printed).toEqual(['root is /project']);
    let ended = false;
    server.onEnd(() => {
      ended = true;
    });
    await server.stop();
    expect([server.url, ended]).toEqual([null, false]);
    await server.stop();
  });

  it('is settled by a problem, which stays when it ends', async () => {
    const server = new DevServer(settings, programAt('fails'));
    await server.settled;
    expect(await endOf(server)).toBe('Convoy has ended (exit code 1).');
    expect(server.problem?.message).toBe('no database');
  });

  it('reports each problem, and once that it is solved', async () => {
    const server = new DevServer(settings, programAt('breaks'));
    const problems: (string | null)[] = [];
    server.onProblem((problem: DevProblem | null) => problems.push(problem?.message ?? null));
    expect(await endOf(server)).toBe('Convoy has ended (exit code 3).');
    expect(problems).toEqual(['broken', 'worse', null, 'Convoy has ended (exit code 3).']);
  });
});

describe('servers of one process', () => {
  const serversOf = (name: keyof typeof programs) => new DevServers((each) => new DevServer(each, programAt(name)));

  it('share the process of a project until the last one releases it', async () => {
    const servers = serversOf('serves');
    const first = servers.acquire(settings);
    const second = servers.acquire(settings);
    const other = servers.acquire({ ...settings, root: '/other' });
    expect(second.devServer).toBe(first.devServer);
    expect(other.devServer).not.toBe(first.devServer);
    await first.release();
    expect(second.devServer.hasEnded).toBe(false);
    await second.release();
    expect(second.devServer.hasEnded).toBe(true);
    await other.release();
  });

  it('start a new process after the old one has ended by itself', async () => {
    const servers = serversOf('fails');
    const first = servers.acquire(settings);
    await endOf(first.devServer);
    const second = servers.acquire(settings);
    expect(second.devServer).not.toBe(first.devServer);
    await first.release();
    await second.release();
  });

  it('watch signals only while a process runs', async () => {
    const before = process.listenerCount('SIGINT');
    const { release } = serversOf('serves').acquire(settings);
    expect(process.listenerCount('SIGINT')).toBe(before + 1);
    await release();
    expect(process.listenerCount('SIGINT')).toBe(before);
  });
});
