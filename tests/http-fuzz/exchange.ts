/** One connection: sends bytes, and returns what the server sent until it closed. */
import { connect, type Socket } from 'node:net';
import type { Random } from '../model/random.js';

/** After which a connection counts as hung. The limits of the server under test are far below. */
const DEADLINE_MS = 20_000;

export interface Exchanged {
  /** The bytes as Latin-1. */
  readonly received: string;
  /** Whether the server has neither closed the connection nor begun a stream. */
  readonly isHung: boolean;
}

/** Sends the bytes in some pieces. A stream is left after its first bytes. */
export async function exchange(
  port: number,
  bytes: Buffer,
  random: Random,
  deadlineMs = DEADLINE_MS,
): Promise<Exchanged> {
  const socket = await connected(port);
  const parts = random.chance(0.3) && bytes.length > 1 ? split(bytes, 1 + random.below(bytes.length - 1)) : [bytes];
  for (const part of parts) socket.write(part);
  if (random.chance(0.3)) socket.end();
  return untilClosed(socket, (received) => /text\/event-stream|^HTTP\/1\.1 101/m.test(received), deadlineMs);
}

/** A connection that takes what comes: the other side may reset it at any time. */
export async function connected(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
  await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  return socket;
}

/** Waits until the server closes, or `isEnough` of what it has sent. */
export async function untilClosed(
  socket: Socket,
  isEnough: (received: string) => boolean,
  deadlineMs = DEADLINE_MS,
): Promise<Exchanged> {
  let received = '';
  const isHung = await new Promise<boolean>((resolve) => {
    const timer = setTimeout(() => resolve(true), deadlineMs);
    const ended = (): void => {
      clearTimeout(timer);
      resolve(false);
    };
    socket.on('data', (chunk: Buffer) => {
      received += chunk.toString('latin1');
      if (isEnough(received)) ended();
    });
    // A reset is an end, too: the server need not read what it has refused.
    socket.on('end', ended).on('close', ended).on('error', ended);
  });
  socket.destroy();
  return { received, isHung };
}

function split(bytes: Buffer, at: number): Buffer[] {
  return [bytes.subarray(0, at), bytes.subarray(at)];
}

const ALLOWED = new Set([
  100, 101, 200, 204, 206, 304, 307, 400, 401, 403, 404, 405, 409, 413, 414, 415, 416, 417, 422, 426, 431, 504,
]);

/** What is wrong with the answers on a connection; `null` if nothing is. */
export function faultOf({ received, isHung }: Exchanged): string | null {
  if (isHung) return 'the server neither answers nor closes';
  if (received === '') return null;
  if (!received.startsWith('HTTP/1.1 ') && !received.startsWith('HTTP/1.0 ')) return 'the answer is no HTTP';
  for (const [, status] of received.matchAll(/HTTP\/1\.[01] (\d{3})[ \r]/g)) {
    if (!ALLOWED.has(Number(status))) return `the status is ${status}`;
  }
  const [, head = '', body = ''] = /^(.*?)\r\n\r\n(.*)$/s.exec(received) ?? [];
  const length = /^content-length: (\d+)\r?$/im.exec(head)?.[1];
  if (length === undefined || !/^content-type: application\/json/im.test(head)) return null;
  if (!/^x-content-type-options: nosniff\r?$/im.test(head)) return 'the answer has no security headers';
  if (body.length < Number(length)) return null;
  try {
    JSON.parse(Buffer.from(body.slice(0, Number(length)), 'latin1').toString());
    return null;
  } catch {
    // The answer to HEAD has a length and no body.
    return body.startsWith('HTTP/1.') ? null : 'the body is no JSON';
  }
}
