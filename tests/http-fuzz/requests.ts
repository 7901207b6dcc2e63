/**
 * Random requests as bytes: by a grammar of HTTP/1.1, with values that parsers disagree about, and then damaged.
 *
 * A body may contain a call of the function `CANARY`. By every reading of the request it is either a part of the body or
 * behind an ambiguous one, so no server may run it.
 */
import type { Random } from '../model/random.js';

/** The function that must never run. */
export const CANARY = 'fuzz.smuggled';

/** The call, with the number of the connection that it was sent on. */
function smuggled(connection: number): string {
  const body = JSON.stringify({ connection: String(connection).padStart(8, '0') });
  return `POST /api/mutation/${CANARY} HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
}

const METHODS = [
  'GET',
  'POST',
  'HEAD',
  'OPTIONS',
  'PUT',
  'DELETE',
  'get',
  'PATCH',
  'CONNECT',
  'TRACE',
  'A\u00e9',
  '',
  'X'.repeat(300),
];
const VERSIONS = [
  'HTTP/1.1',
  'HTTP/1.0',
  'HTTP/1.2',
  'HTTP/2.0',
  'HTTP/0.9',
  'http/1.1',
  'HTTP/1.1 ',
  'HTTP/11',
  '',
  'ICY',
];
const TARGETS = [
  ...[
    '/api/query/fuzz.echo',
    '/api/mutation/fuzz.write',
    '/api/health',
    '/api/ready',
    '/api/live',
    '/api/live/ab',
    '/api/ws',
  ],
  ...[
    '/api/subscribe?name=fuzz.echo',
    '/api/subscribe?name=fuzz.echo&args=%7B%22a%22:1%7D',
    '/api/_live',
    '/api/openapi.json',
  ],
  ...[
    '/api/query/fuzz.echo?args=%7B%7D',
    '/hooks/a',
    '/hooks/%2e%2e%2fetc',
    '/hooks//a',
    '/hooks/a\\b',
    '/hooks/%00',
    '/hooks/%ff',
  ],
  ...[
    '/',
    '*',
    '',
    '/api',
    '/api/',
    '/api//health',
    '/api/./health',
    '/api/../api/health',
    '/_convoy',
    '/%61pi/health',
  ],
  ...[
    'http://localhost/api/health',
    'http://evil.test/hooks/a',
    '//evil.test/hooks/a',
    'localhost:80',
    '/hooks/a#b',
    '/hooks/a?b#c',
  ],
  ...[
    '/api/query/constructor',
    '/api/query/__proto__',
    '/api/query/a%0d%0ax:%20y',
    '/api/query/\u00fc',
    `/hooks/${'a'.repeat(20_000)}`,
  ],
  `/api/subscribe?name=fuzz.echo&args=${'%5B'.repeat(200)}`,
];
const HEADERS: readonly (readonly [name: string, values: readonly string[]])[] = [
  ['host', ['localhost', 'localhost:1', '', 'a b', 'evil.test@localhost', '[::1', 'localhost, evil.test', '\u00e9']],
  [
    'content-type',
    ['application/json', 'text/plain', 'application/json; charset=utf-16', 'multipart/form-data; boundary=x', ''],
  ],
  ['origin', ['http://localhost', 'null', 'https://evil.test', 'http://localhost/', 'a', '\u00ff', 'http://[::1']],
  ['sec-fetch-site', ['same-origin', 'none', 'cross-site', 'same-site', '', 'same-origin, cross-site']],
  ['cookie', ['a=b', 'a=b; c', '=', ';;;;', `a=${'b'.repeat(5000)}`]],
  ['authorization', ['Bearer x', 'Bearer', 'Basic YTpi', '\u0080', `Bearer ${'x'.repeat(9000)}`]],
  [
    'connection',
    ['keep-alive', 'close', 'upgrade', 'Upgrade, keep-alive', 'x', 'host', 'content-length', 'transfer-encoding'],
  ],
  ['upgrade', ['websocket', 'h2c', 'WebSocket', 'websocket, h2c', 'TLS/1.0']],
  ['sec-websocket-version', ['13', '12', '13, 8', '']],
  ['sec-websocket-key', ['AAAAAAAAAAAAAAAAAAAAAA==', '', 'x', '\u00e9']],
  ['sec-websocket-extensions', ['permessage-deflate', 'permessage-deflate; client_max_window_bits=99', 'x;;=']],
  ['expect', ['100-continue', '100-Continue', '200-ok', '']],
  ['te', ['trailers', 'chunked']],
  ['trailer', ['x', 'content-length', 'host']],
  ['range', ['bytes=0-1', 'bytes=-1', 'bytes=9999999999999999999-', 'bytes=0-0,1-1,2-2', 'x']],
  ['if-none-match', ['*', '"x"', 'W/"x", "y"', '"']],
  ['accept', ['text/html', '*/*;q=x', ',,,', 'text/html;q=0']],
  ['accept-encoding', ['gzip', 'br;q=9', 'identity;q=0, *;q=0', ';;;']],
  ['idempotency-key', ['a', '', '\u00e9', 'x'.repeat(200), 'a b']],
  ['convoy-session', ['ab', 'x'.repeat(32), '0'.repeat(32)]],
  ['convoy-position', ['x', '0000000000000000.zz', '.', 'a.b.c']],
  ['convoy-attempt', ['2', '-1', 'x']],
  ['last-event-id', ['x', '0'.repeat(32)]],
  ['x-forwarded-for', ['1.2.3.4', 'x', ',', '::1, 999.1.1.1']],
  ['x-forwarded-host', ['evil.test', 'a b', '']],
  ['x-forwarded-proto', ['https', 'javascript']],
  ['access-control-request-method', ['POST', 'X Y', '']],
  ['access-control-request-headers', ['a', 'a,\u00e9', '*']],
  ['x-odd', ['\u0001', 'a\tb', ' ', 'x'.repeat(70_000)]],
];
/** How the end of a body is told: the right way, by values that parsers disagree about, and in conflict. */
const FRAMINGS = [
  'length',
  'chunked',
  'none',
  'both',
  'lengths',
  'odd length',
  'odd coding',
  'late coding',
  'trailers',
] as const;
const ODD_LENGTHS = [
  '+{}',
  '{}, {}',
  '0x{}',
  '{}\u000b',
  '-{}',
  '{}.0',
  '9{}999999999999999999',
  '',
  ' ',
  '0{}',
  '{}e0',
  '{} {}',
];
const ODD_CODINGS = [
  ...[
    'chunked, identity',
    'identity, chunked',
    'xchunked',
    'chunked;q=1',
    '"chunked"',
    'chunked,',
    ',chunked',
    'CHUNKED',
  ],
  ...['\u000bchunked', 'chunked\u0000', 'gzip, chunked', 'chunked, chunked', 'identity', 'x', ''],
];
/** Other spellings of the name of the header, which a lenient parser takes for it. */
const ODD_NAMES = [
  'Transfer-Encoding ',
  'Transfer_Encoding',
  ' Transfer-Encoding',
  'Transfer-Encoding\t',
  'transfer-encoding\u0000',
];

const json = (random: Random): string =>
  random.pick([
    '{}',
    '',
    '{"a":1}',
    '{"a":',
    '[',
    'null',
    '"\\ud800"',
    '{"__proto__":{}}',
    '1e999',
    '['.repeat(100),
    '\u0000',
    '{"a":1}{}',
  ]);

/** The bytes of one connection: requests, one after the other. */
export function connectionBytes(random: Random, connection: number): Buffer {
  const call = smuggled(connection);
  const count = random.chance(0.7) ? 1 : 1 + random.below(5);
  const whole = Buffer.from(Array.from({ length: count }, () => request(random, call)).join(''), 'latin1');
  return random.chance(0.4) ? damaged(random, whole) : whole;
}

function request(random: Random, call: string): string {
  const isOdd = random.chance(0.3);
  const method = isOdd ? random.pick(METHODS) : random.pick(['GET', 'POST', 'POST']);
  const version = random.chance(0.1) ? random.pick(VERSIONS) : 'HTTP/1.1';
  const line = [method, random.pick(TARGETS), version].join(random.chance(0.03) ? random.pick(['  ', '\t', '']) : ' ');
  const headers = random.chance(0.95) ? ['host: localhost'] : [];
  for (let n = random.below(6); n > 0; n--) {
    const [name, values] = random.pick(HEADERS);
    headers.push(`${name}${random.chance(0.05) ? random.pick([' ', '', '\t', '\u0000']) : ''}: ${random.pick(values)}`);
  }
  if (random.chance(0.05)) headers.push(random.pick([' folded', '\tfolded: x', 'no colon', ': no name', 'a b: c', '']));
  if (random.chance(0.01)) headers.push(...Array.from({ length: 200 }, (_, n) => `x-${n}: y`));
  const { lines, body } = framed(random, call);
  const end = random.chance(0.03) ? random.pick(['\n', '\r', '\r\n \r\n']) : '\r\n';
  const [first = '', ...rest] = random.chance(0.5) ? [...headers, ...lines] : [...lines, ...headers];
  return `${line}${end}${[first, ...rest].join(end)}${end}${end}${body}`;
}

/** The headers about the body, and the body. */
function framed(random: Random, call: string): { lines: string[]; body: string } {
  const content = random.chance(0.3) ? call : json(random);
  const length = (text: string): string => `content-length: ${text.length}`;
  const coding = 'transfer-encoding: chunked';
  // Both readings of these leave the call in a body, or behind a request after which the connection has to end.
  const ended = `0\r\n\r\n${call}`;
  switch (random.pick(FRAMINGS)) {
    case 'length':
      return { lines: [length(content)], body: content };
    case 'chunked':
      return { lines: [coding], body: chunked(random, content) };
    case 'none':
      return { lines: [], body: '' };
    case 'both':
      return { lines: random.chance(0.5) ? [length(ended), coding] : [coding, length(ended)], body: ended };
    case 'lengths':
      return { lines: ['content-length: 0', length(call)].sort(() => random.fraction() - 0.5), body: call };
    case 'odd length':
      return {
        lines: [`content-length: ${random.pick(ODD_LENGTHS).replaceAll('{}', String(call.length))}`],
        body: call,
      };
    case 'odd coding':
      return { lines: [length(ended), `transfer-encoding: ${random.pick(ODD_CODINGS)}`], body: ended };
    case 'trailers':
      // A parser that ends lines with LF alone sees three requests, and others one.
      return {
        lines: [coding],
        body: `2\r\n{}\r\n0\r\nx: y\n\r\nGET /api/health HTTP/1.1\r\nhost: localhost\r\n\r\n${call}`,
      };
    case 'late coding':
      return { lines: [length(ended), `${random.pick(ODD_NAMES)}: chunked`], body: ended };
  }
}

const ODD_CHUNKS = [
  'ffffffffffffffff',
  '-1',
  '0x2',
  ' 2',
  '2 ',
  '+2',
  '',
  'g',
  '2;a=b',
  `2;${'x'.repeat(20_000)}`,
  '2\n',
  '2;\nxx',
  '0000000000000000000000002',
];
const ODD_TRAILERS = [
  'x: y\r\n',
  'content-length: 5\r\n',
  'transfer-encoding: chunked\r\n',
  'no colon\r\n',
  ': \r\n',
  'x: y\n',
];

function chunked(random: Random, text: string): string {
  let left = text;
  let body = '';
  while (left.length > 0) {
    const size = 1 + random.below(left.length);
    body += `${size.toString(16)}\r\n${left.slice(0, size)}\r\n`;
    left = left.slice(size);
  }
  // Nothing follows that could be taken for a request.
  if (random.chance(0.2)) return `${random.pick(ODD_CHUNKS)}\r\n{}\r\n0\r\n\r\n`;
  return `${body}0\r\n${random.chance(0.2) ? random.pick(ODD_TRAILERS) : ''}\r\n`;
}

/** Random bytes changed, removed, repeated or cut off, none of which can make a request of a body. */
function damaged(random: Random, bytes: Buffer): Buffer {
  if (bytes.includes(CANARY)) return bytes.subarray(0, random.below(bytes.length + 1));
  let changed = Buffer.from(bytes);
  for (let n = 1 + random.below(4); n > 0 && changed.length > 0; n--) {
    const at = random.below(changed.length);
    const [before, after] = [changed.subarray(0, at), changed.subarray(at)];
    const length = random.below(20);
    switch (random.pick(['flip', 'insert', 'remove', 'repeat', 'cut'] as const)) {
      case 'flip':
        changed[at] = random.below(256);
        break;
      case 'insert':
        changed = Buffer.concat([
          before,
          Buffer.from(random.pick(['\r\n', '\0', '\n', ' ', ':', '\r', '\xff'.repeat(9)]), 'latin1'),
          after,
        ]);
        break;
      case 'remove':
        changed = Buffer.concat([before, after.subarray(length)]);
        break;
      case 'repeat':
        changed = Buffer.concat([before, after.subarray(0, length), after]);
        break;
      case 'cut':
        changed = before;
    }
  }
  return changed;
}
