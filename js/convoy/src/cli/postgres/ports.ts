/** Chooses a TCP port for the embedded Postgres. */
import { createHash } from 'node:crypto';
import { createServer } from 'node:net';
import { isErrno } from '../errno.js';

/** A range below the ephemeral ports that systems use for outgoing connections. */
const FIRST_PORT = 15_432;
const PORT_COUNT = 4_000;

/** A free port near one derived from this folder, so that projects rarely collide. */
export async function choosePort(folder: string): Promise<number> {
  const start = createHash('sha256').update(folder).digest().readUInt32BE(0) % PORT_COUNT;
  for (let step = 0; step < PORT_COUNT; step += 1) {
    const port = FIRST_PORT + ((start + step) % PORT_COUNT);
    if (await isFree(port)) return port;
  }
  throw new Error(`No port from ${FIRST_PORT} to ${FIRST_PORT + PORT_COUNT - 1} is free for the embedded Postgres.`);
}

/** Whether a server could listen on the port now. */
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
