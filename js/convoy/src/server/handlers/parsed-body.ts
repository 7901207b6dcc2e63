/** Where the body of a Node request is: still in its stream, or parsed by a middleware that ran before. */

import type { IncomingMessage } from 'node:http';
import { NO_BODY, type RequestBody } from './exchange.js';

/** A body, or the reason that there is none. */
export type FoundBody = RequestBody | { readonly kind: 'lost'; readonly reason: string };

/** The body of a request: as it was parsed into `req.body` if its stream has been read, else the stream. */
export function findBody(req: IncomingMessage): FoundBody {
  if (!mayHaveBody(req)) return NO_BODY;
  if (!req.readableDidRead && !req.readableEnded) return { kind: 'pushed' };
  const { body } = req as { body?: unknown };
  if (body === undefined) {
    return lost(
      'another middleware has read it and left nothing in req.body; use convoy.nodeHandler() before that middleware',
    );
  }
  if (typeof body === 'string') return { kind: 'whole', bytes: Buffer.from(body) };
  if (body instanceof Uint8Array) return { kind: 'whole', bytes: body };
  const type = req.headers['content-type'] ?? '';
  if (!/[/+]json\b/i.test(type)) {
    return lost(`another middleware has parsed it as ${type || 'no type'}; send Content-Type: application/json`);
  }
  try {
    return { kind: 'whole', bytes: Buffer.from(JSON.stringify(body)) };
  } catch (error) {
    return lost(`another middleware has parsed it into a value that is not JSON: ${(error as Error).message}`);
  }
}

function mayHaveBody({ headers, httpVersionMajor }: IncomingMessage): boolean {
  // HTTP/2 has bodies of unannounced length.
  return httpVersionMajor > 1 || headers['transfer-encoding'] !== undefined || Number(headers['content-length']) > 0;
}

function lost(why: string): FoundBody {
  return { kind: 'lost', reason: `The body of this request did not reach Convoy: ${why}.` };
}
