/** Servers that pass requests to Convoy: each in the way its documentation shows, and as `docs/existing-servers.md` does. */
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Convoy, ConvoyLimits } from '@avvos/convoy/node';
import middie from '@fastify/middie';
import { serve as serveHono } from '@hono/node-server';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import compression from 'compression';
import express from 'express';
import fastify from 'fastify';
import { Hono } from 'hono';
import Koa from 'koa';
import 'reflect-metadata';

/** A running server. */
export interface Running {
  readonly baseUrl: string;
  /** Replaces the global `fetch` where there is no socket. */
  readonly fetch?: (url: string, init?: RequestInit) => Promise<Response>;
  close(): Promise<void>;
}

export interface ExistingServer {
  readonly name: string;
  /** Whether WebSockets reach Convoy. */
  readonly webSocket: boolean;
  /** Whether the server tells Convoy the address of its peer. */
  readonly tellsPeer: boolean;
  /** Whether paths that are not Convoy's are answered with `HOST_ANSWER`. */
  readonly hasOtherRoutes: boolean;
  /** Limits of Convoy for this server's tests. */
  readonly limits?: ConvoyLimits;
  start(convoy: Convoy): Promise<Running>;
}

export const HOST_ANSWER = 'answered by the application';

const convoyListener: ExistingServer = {
  name: 'Convoy itself',
  webSocket: true,
  tellsPeer: true,
  hasOtherRoutes: false,
  async start(convoy) {
    const { port } = await convoy.listen({ port: 0 });
    return { baseUrl: `http://127.0.0.1:${port}`, close: async () => {} };
  },
};

/** A server of node:http, with the upgrades that Convoy takes. */
async function running(convoy: Convoy, server: Server): Promise<Running> {
  server.on('upgrade', convoy.upgradeHandler());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const onNode = (name: string, listenerFor: (convoy: Convoy) => RequestListener | Promise<RequestListener>) => ({
  name,
  webSocket: true,
  tellsPeer: true,
  hasOtherRoutes: true,
  start: async (convoy: Convoy) => running(convoy, createServer(await listenerFor(convoy))),
});

const http = onNode('node:http', (convoy) => {
  const handle = convoy.nodeHandler();
  return async (req, res) => {
    if (!(await handle(req, res))) res.end(HOST_ANSWER);
  };
});

const express5 = onNode('Express 5', (convoy) => {
  const app = express();
  app.use(convoy.nodeHandler());
  app.use((_req, res) => void res.send(HOST_ANSWER));
  return app;
});

const express5Parsed = onNode('Express 5 after compression and express.json()', (convoy) => {
  const app = express();
  app.use(compression({ threshold: 0 }), express.json());
  app.use(convoy.nodeHandler());
  app.use((_req, res) => void res.send(HOST_ANSWER));
  return app;
});

const expressFour = onNode('Express 4 after compression and express.json(), mounted at /api', async (convoy) => {
  // The same interface as version 5, as far as it is used here.
  const { default: express4 } = (await import('express4' as string)) as { default: typeof express };
  const app = express4();
  app.use(compression({ threshold: 0 }), express4.json());
  app.use('/api', convoy.nodeHandler());
  app.use((_req, res) => void res.send(HOST_ANSWER));
  return app;
});

const koa = onNode('Koa 3', (convoy) => {
  const app = new Koa();
  const handle = convoy.nodeHandler();
  app.use(async (ctx, next) => {
    ctx.respond = false;
    if (await handle(ctx.req, ctx.res)) return;
    ctx.respond = true;
    await next();
  });
  app.use((ctx) => {
    ctx.body = HOST_ANSWER;
  });
  return app.callback();
});

const fastify5: ExistingServer = {
  name: 'Fastify 5 with @fastify/middie',
  webSocket: true,
  tellsPeer: true,
  hasOtherRoutes: true,
  async start(convoy) {
    const app = fastify({ forceCloseConnections: true });
    await app.register(middie);
    app.use(convoy.nodeHandler());
    app.all('/*', async () => HOST_ANSWER);
    app.server.on('upgrade', convoy.upgradeHandler());
    return { baseUrl: await app.listen({ port: 0, host: '127.0.0.1' }), close: () => app.close() };
  },
};

class AppModule {}
Module({})(AppModule);

const nest: ExistingServer = {
  name: 'NestJS 11',
  webSocket: true,
  tellsPeer: true,
  hasOtherRoutes: true,
  async start(convoy) {
    const app = await NestFactory.create(AppModule, { logger: false, forceCloseConnections: true });
    app.use(convoy.nodeHandler());
    app.use((_req: unknown, res: { end(text: string): void }) => res.end(HOST_ANSWER));
    const server = app.getHttpServer() as Server;
    server.on('upgrade', convoy.upgradeHandler());
    await app.listen(0, '127.0.0.1');
    return {
      baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      close: () => app.close(),
    };
  },
};

function honoApp(convoy: Convoy): Hono {
  const app = new Hono();
  const { POST: handle } = convoy.handlers;
  app.all('/api/auth/*', (c) => c.text(HOST_ANSWER));
  app.all('/api/*', (c) => handle(c.req.raw));
  return app.all('*', (c) => c.text(HOST_ANSWER));
}

const hono: ExistingServer = {
  name: 'Hono with @hono/node-server',
  webSocket: true,
  tellsPeer: false,
  hasOtherRoutes: true,
  async start(convoy) {
    const app = honoApp(convoy);
    const server = await new Promise<Server>((resolve) => {
      const started = serveHono({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }, () => resolve(started as Server));
    });
    server.on('upgrade', convoy.upgradeHandler());
    return {
      baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      close: () =>
        new Promise((resolve) => {
          server.close(() => resolve());
          server.closeAllConnections();
        }),
    };
  },
};

const webHandlers: ExistingServer = {
  name: 'web handlers, without a server',
  webSocket: false,
  tellsPeer: false,
  hasOtherRoutes: false,
  async start({ handlers }) {
    return {
      baseUrl: 'http://app.test',
      fetch: (url, init) => handlers.POST(new Request(url, init)),
      close: async () => {},
    };
  },
};

export const SERVERS: readonly ExistingServer[] = [
  convoyListener,
  http,
  express5,
  express5Parsed,
  expressFour,
  fastify5,
  koa,
  nest,
  hono,
  webHandlers,
];
