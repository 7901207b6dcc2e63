/**
 * The control: a server that reads HTTP as one is tempted to write it. It goes by `Content-Length` alone, takes what
 * follows for the next request, fails on what it does not expect, and waits for ever for a body that does not come.
 */
import { createServer, type Server } from 'node:net';
import { CANARY } from './requests.js';

export interface NaiveServer {
  readonly server: Server;
  /** How often the function was called that must never run. */
  smuggled(): number;
}

export function naiveServer(): NaiveServer {
  let smuggled = 0;
  const server = createServer((socket) => {
    let left = '';
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk: Buffer) => {
      left += chunk.toString('latin1');
      for (;;) {
        const end = left.indexOf('\r\n\r\n');
        if (end === -1) return;
        const head = left.slice(0, end);
        const length = Number.parseInt(/content-length: *(\d+)/i.exec(head)?.[1] ?? '0', 10);
        if (left.length < end + 4 + length) return;
        left = left.slice(end + 4 + length);
        if (head.startsWith(`POST /api/mutation/${CANARY} `)) smuggled++;
        const status = /^[A-Z]+ \S+ HTTP\/1\.1\r\n/.test(head) ? '200 OK' : '500 Internal Server Error';
        socket.write(`HTTP/1.1 ${status}\r\ncontent-length: 0\r\n\r\n`);
      }
    });
  });
  return { server, smuggled: () => smuggled };
}
