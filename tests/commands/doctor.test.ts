/** `convoy doctor` with the real program, database and server, and through proxies that do what proxies do. */
import { once } from 'node:events';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { constants, createGzip } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { type CommandProject, eachWithProject } from './project.js';

let project: CommandProject;
eachWithProject((opened) => {
  project = opened;
});

interface Line {
  readonly name: string;
  readonly level: string;
  readonly message: string;
  readonly remedy?: string;
}

const lineOf = (report: { readonly lines: readonly Line[] }, name: string) =>
  report.lines.find((each) => each.name === name);

describe('convoy doctor', () => {
  it('is content with a project whose database and port are usable', async () => {
    const { code, report } = await project.json('doctor', '--port', '0');
    const names = report.lines.map(({ name, level }: Line) => `${level} ${name}`);
    expect(names.filter((name: string) => !name.endsWith(' node'))).toEqual(
      ['engine', 'code', 'connection', 'pooler', 'tls', 'connections', 'privileges', 'schema', 'port'].map(
        (n) => `ok ${n}`,
      ),
    );
    expect(lineOf(report, 'connection')?.message).toMatch(
      /^Postgres \d+\S*.*, database convoy_test_\w+, role \w+, [\d.]+ ms/,
    );
    expect(code).toBe(0);
  });

  it('spells out the grants that the role lacks', async () => {
    const role = `weak_${Date.now()}`;
    await project.sql.query(`create role ${role} login password 'x'`);
    // Up to Postgres 14 everyone may create tables in this schema.
    await project.sql.query('revoke create on schema public from public');
    try {
      const url = Object.assign(new URL(project.databaseUrl), { username: role, password: 'x' }).href;
      const running = project.start(['doctor', '--port', '0'], { DATABASE_URL: url });
      expect(await running.ended).toBe(1);
      expect(running.output).toContain(`alter schema _convoy owner to ${role}`);
      expect(running.output).toContain(`grant usage, create on schema public to ${role}`);
      expect(running.output).toContain(`grant select, insert, update, delete on table public.messages to ${role}`);
    } finally {
      await project.sql.query(`drop role ${role}`);
    }
  });

  it('reports every failure in one run', async () => {
    await project.project.write({ 'convoy/schema.ts': 'export default 1;' });
    const owner = createServer().listen(0, '127.0.0.1');
    await once(owner, 'listening');
    const { port } = owner.address() as AddressInfo;
    const wrong = Object.assign(new URL(project.databaseUrl), { password: 'wrong' }).href;
    const running = project.start(['doctor', '--port', String(port), '--url', `http://127.0.0.1:${port}/api`], {
      DATABASE_URL: wrong,
    });
    owner.on('request', (_request, response) => response.writeHead(404).end());
    expect(await running.ended).toBe(1);
    expect(running.output).toMatch(/code: .*exports no schema/);
    expect(running.output).toMatch(/connection: .*refused the password of role/);
    expect(running.output).not.toContain('wrong@');
    expect(running.output).toMatch(/port: port \d+ is in use by \w+/);
    expect(running.output).toMatch(/server: .*health answers 404\s+→ does the URL end with the base path/);
    expect(running.output).toContain('3 failures');
    owner.close();
  });

  it('states how to continue without DATABASE_URL', async () => {
    const running = project.start(['doctor', '--port', '0'], { DATABASE_URL: '' });
    expect(await running.ended).toBe(0);
    expect(running.output).toContain('DATABASE_URL is not set');
  });

  it('sees whether a proxy buffers streams, compresses them, or refuses WebSockets', async () => {
    await project.project.write({ 'convoy/functions/a.ts': 'export {};' });
    const server = project.start(['dev', '--port', '0']);
    const api = new URL((await server.prints(/Server +(\S+)/))[1] ?? '');
    const proxies: Server[] = [];
    const throughProxy = async (behaviour: 'plain' | 'buffers' | 'compresses') => {
      const proxy = proxyTo(api, behaviour).listen(0, '127.0.0.1');
      proxies.push(proxy);
      await once(proxy, 'listening');
      const { port } = proxy.address() as AddressInfo;
      return project.json('doctor', '--port', '0', '--url', `http://127.0.0.1:${port}/api`);
    };
    try {
      const direct = await project.json('doctor', '--port', '0', '--url', api.href);
      expect(direct.code).toBe(0);
      for (const name of ['server', 'streaming', 'websocket']) expect(lineOf(direct.report, name)?.level).toBe('ok');

      const plain = await throughProxy('plain');
      expect(plain.code).toBe(0);
      expect(lineOf(plain.report, 'streaming')?.level).toBe('ok');
      expect(lineOf(plain.report, 'websocket')?.level).toBe('warn');

      const buffered = await throughProxy('buffers');
      expect(buffered.code).toBe(1);
      expect(lineOf(buffered.report, 'streaming')).toMatchObject({
        level: 'fail',
        remedy: expect.stringContaining('proxy_buffering off'),
      });

      const compressed = await throughProxy('compresses');
      expect(lineOf(compressed.report, 'streaming')).toMatchObject({
        level: 'warn',
        message: expect.stringContaining('(gzip)'),
      });
    } finally {
      for (const proxy of proxies) proxy.closeAllConnections();
      server.process.kill('SIGKILL');
      await server.ended;
    }
  });
});

/** A proxy that passes requests on, without upgrades. */
function proxyTo(target: URL, behaviour: 'plain' | 'buffers' | 'compresses'): Server {
  return createServer((incoming, outgoing) => {
    // Those of the connection end here, as at any proxy.
    const {
      method,
      url,
      headers: { connection: _, upgrade: __, ...headers },
    } = incoming;
    const upstream = request({ host: target.hostname, port: target.port, method, path: url, headers }, (answer) => {
      if (behaviour !== 'buffers') {
        const compresses = behaviour === 'compresses';
        const encoding = compresses ? { 'content-encoding': 'gzip' } : {};
        outgoing.writeHead(answer.statusCode ?? 502, { ...answer.headers, ...encoding });
        if (compresses) answer.pipe(createGzip({ flush: constants.Z_SYNC_FLUSH })).pipe(outgoing);
        else answer.pipe(outgoing);
        return;
      }
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk));
      answer.on('end', () => outgoing.writeHead(answer.statusCode ?? 502, answer.headers).end(Buffer.concat(chunks)));
    });
    upstream.on('error', () => outgoing.destroy());
    outgoing.on('close', () => upstream.destroy());
    incoming.pipe(upstream);
  });
}
