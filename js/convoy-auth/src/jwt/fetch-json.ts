/**
 * Fetches a small JSON document of a provider. The answer is bounded in time and size, and redirects are errors: keys
 * come from the configured address or from none.
 */

import { shown } from '../options.js';

/** How long an answer may take, and how large it may be. */
export const TIMEOUT_MS = 5_000;
export const MAX_BYTES = 256 * 1024;

/** The text of the document at `url`, and its content. Throws an `Error` whose message completes "could not fetch: …". */
export async function fetchJson(url: URL): Promise<{ readonly text: string; readonly json: unknown }> {
  const response = await fetch(url, {
    headers: { accept: 'application/json' },
    redirect: 'manual',
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  if (!response.ok) {
    await response.body?.cancel();
    throw new Error(`${url} answered with status ${response.status}`);
  }
  const text = await readBounded(response, url);
  try {
    return { text, json: JSON.parse(text) };
  } catch (error) {
    throw new Error(`${url} did not answer with JSON`, { cause: error });
  }
}

async function readBounded({ body }: Response, url: URL): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  let bytes = 0;
  for await (const chunk of body ?? []) {
    bytes += chunk.length;
    // Leaving the loop cancels the stream.
    if (bytes > MAX_BYTES) throw new Error(`the answer of ${url} is larger than ${MAX_BYTES} bytes`);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** A URL that may be fetched: HTTPS, or HTTP on this machine or if `allowHttp`. Throws a `TypeError` for others. */
export function fetchableUrl(text: string | URL, name: string, allowHttp: boolean): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null) throw new TypeError(`${name} must be a URL; ${shown(text)} was given.`);
  const isLocal = /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname);
  if (url.protocol === 'https:' || (url.protocol === 'http:' && (isLocal || allowHttp))) return url;
  throw new TypeError(
    `${name} must begin with https://, because the keys it leads to decide who is signed in; ${url} was given. ` +
      'For a provider in a network that you trust, set `allowHttp: true`.',
  );
}
