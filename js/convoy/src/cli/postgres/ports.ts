/** Chooses TCP ports. */
import { createHash } from 'node:crypto';
import { createServer } from 'node:net';
import { isErrno } from '../errno.js';

/** Below the ranges from which systems take ports for outgoing connections. */
const first = 15_432;
const count = 4_000;

/** A free port near one that belongs to this folder, so that projects rarely meet. */
export async function choosePort(folder: string): Promise<number> {
  const start = createHash('sha256').update(folder).digest().readUInt32BE(0) % count;
  for (let step = 0; step < count; step += 1) {
    const port = first + ((start + step) % count);
    if (await isFree(port)) return port;
  }
  throw new Error(`No port from ${first} to ${first + count - 1} is free for the embedded Postgres.`);
}

/** Whether one could listen there now. */
export async function isFree(port: number, host = '127.0.0.1'): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      if (isErrno(error, 'EADDRINUSE', 'EACCES')) resolve(false);
      else reject(error);
    });
    server.listen({ port, host }, () => server.close(() => resolve(true)));
  });
}
