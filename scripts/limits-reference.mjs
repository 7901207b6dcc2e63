// Writes the tables of docs/limits.md from the definitions in the code: those that can be configured are in
// crates/convoy/src/limits.rs, and of the fixed ones each constant is read where it is used.
//
//   node scripts/limits-reference.mjs
//
// `npm run check` compares the page with the code, and tests/limits.test.mjs knows a test for each limit.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { root } from './run.mjs';

export const limitsFile = join(root, 'docs/limits.md');
const DEFINITIONS = 'crates/convoy/src/limits.rs';
const OPTIONS = 'js/convoy/src/server/options.ts';

/** Limits that cannot be configured. `unit` is that of the constant; a `Duration` has its own. */
export const FIXED = [
  ['documents in a page (`numItems`)', 'js/convoy/src/server/scan.ts', 'MAX_PAGE', '', '`INVALID_ARGS`'],
  ['depth of functions that call one another', 'js/convoy/src/server/function-calls.ts', 'MAX_DEPTH', '', '`INTERNAL`'],
  [
    'nesting of JSON, and of conditions in a filter',
    'crates/convoy/src/value.rs',
    'MAX_DEPTH',
    '',
    '`INVALID_ARGS`; in a result `INTERNAL`',
  ],
  [
    'batches of operations of one call that wait at once',
    'crates/convoy/src/dispatch/host.rs',
    'BATCHES',
    '',
    '`INTERNAL`',
  ],
  [
    'runs of a call again whose worker has ended',
    'crates/convoy/src/dispatch/call.rs',
    'MAX_HOST_RETRIES',
    '',
    '`UNAVAILABLE`',
  ],
  [
    'length of an `Idempotency-Key`, in ASCII characters',
    'crates/convoy/src/dispatch/commit/idempotency.rs',
    'MAX_KEY_BYTES',
    '',
    '`INVALID_ARGS`',
  ],
  [
    'unread `error` messages to the client of a stream',
    'crates/convoy/src/live/registry/session.rs',
    'MAX_CONTROL_MESSAGES',
    '',
    'the stream ends',
  ],
  [
    'mutations of a stream that wait for their `settled`',
    'crates/convoy/src/live/registry/own_mutations.rs',
    'MAX_PENDING_ACKS',
    '',
    'the stream ends, and the client reconnects',
  ],
  [
    'time to send a valid token after one has expired or was rejected',
    'crates/convoy/src/live/registry/session.rs',
    'AUTH_GRACE',
    '',
    'the stream ends',
  ],
  [
    'mutations of a client that wait to be sent',
    'js/convoy/src/client/lazy-mutations.ts',
    'MAX_WAITING',
    '',
    '`RATE_LIMITED`, in the client',
  ],
  [
    'callers of a function with a [rate limit](#rate-limits) that have a bucket of their own',
    'crates/convoy/src/rate_limit/buckets.rs',
    'MAX_CALLERS',
    '',
    'further callers share buckets',
  ],
  [
    "length of a request's URL",
    'crates/convoy/src/http/guard.rs',
    'MAX_URL_BYTES',
    'bytes',
    '`PAYLOAD_TOO_LARGE` with status 414; far beyond, 414 or 431 without JSON',
  ],
  ['headers of a request', 'crates/convoy/src/http/mod.rs', 'MAX_HEADERS', '', '431 without JSON'],
  [
    'connections at once to the port of the [metrics](observability.md#metrics)',
    'crates/convoy/src/http/metrics_endpoint.rs',
    'MAX_CONNECTIONS',
    '',
    'further ones wait',
  ],
  [
    'proxies, or networks of proxies, in `trustProxy`',
    'crates/convoy/src/trusted_proxies.rs',
    'MAX',
    '',
    'the server does not start',
  ],
  [
    'length of the name of a table, in bytes',
    'js/convoy/src/schema/schema.ts',
    'MAX_NAME_BYTES',
    '',
    'the schema is refused',
  ],
  [
    'names in the path of a field, in an index or a condition',
    'js/convoy/src/schema/fields.ts',
    'MAX_FIELD_DEPTH',
    '',
    'the schema is refused, or `INVALID_ARGS`',
  ],
  [
    '[settings](row-level-security.md) of row-level security',
    'js/convoy/src/server/row-security/row-settings.ts',
    'MAX_SETTINGS',
    '',
    '`INTERNAL`',
  ],
  [
    'size of one of them',
    'js/convoy/src/server/row-security/row-settings.ts',
    'MAX_VALUE_BYTES',
    'bytes',
    '`INTERNAL`',
  ],
  [
    'size of the arguments of a call by a function, and of its operations that are sent together',
    'js/convoy/src/server/bounded-json.ts',
    'MAX_MESSAGE_BYTES',
    'bytes',
    '`PAYLOAD_TOO_LARGE`',
  ],
  [
    'size of the rows that [`cachedReads`](functions.md#reads-kept-in-memory) keeps',
    'crates/convoy/src/read_cache.rs',
    'MAX_BYTES',
    'bytes',
    'those used least recently are dropped',
  ],
  ['size of the answer to one read in it', 'crates/convoy/src/read_cache.rs', 'MAX_ANSWER', 'bytes', 'it is not kept'],
  [
    '[events](observability.md#events) that wait for `onEvent`',
    'crates/convoy/src/events.rs',
    'MAX_QUEUED',
    '',
    'further ones are dropped and counted',
  ],
  ['length of a line of the log', 'crates/convoy/src/output.rs', 'MAX_LINE_BYTES', 'bytes', 'the rest is cut'],
  [
    'lines of the log that wait to be written',
    'crates/convoy/src/output.rs',
    'MAX_LINES',
    '',
    'further ones are dropped and counted',
  ],
  [
    'size of these lines together',
    'crates/convoy/src/output.rs',
    'MAX_BYTES',
    'bytes',
    'further ones are dropped and counted',
  ],
  [
    'length of the message of a thrown value in the log, in characters',
    'js/convoy/src/server/encode-result.ts',
    'MAX_ERROR_CHARACTERS',
    '',
    'the rest is cut',
  ],
  [
    'spans of one trace',
    'crates/convoy/src/telemetry/trace.rs',
    'MAX_SPANS',
    '',
    'further ones are dropped and counted',
  ],
  [
    'traces that wait for an export',
    'crates/convoy/src/telemetry/otlp.rs',
    'MAX_WAITING_TRACES',
    '',
    'further ones are dropped and counted',
  ],
  [
    'lines of the log that wait for an export',
    'crates/convoy/src/telemetry/logs.rs',
    'MAX_WAITING_LINES',
    '',
    'further ones are dropped and counted',
  ],
  [
    'tabs of a browser with a stream to one server over HTTP/1.1',
    'js/convoy/src/client/stream-limit.ts',
    'MAX_STREAMS',
    '',
    'further tabs call their queries at intervals',
  ],
  ['draining at shutdown', 'crates/convoy/src/engine.rs', 'DRAIN_TIMEOUT', '', 'calls still running are abandoned'],
].map(([text, file, constant, unit, error]) => ({ text, file, constant, unit, error }));

/** The limits in the code, with their values. Throws where a definition has another form than it must have. */
export async function limitsInCode() {
  return { configurable: await configurable(), fixed: await Promise.all(FIXED.map(withValue)) };
}

async function configurable() {
  const source = await read(DEFINITIONS);
  const [, body] = /^limits! \{\n([\s\S]*?)^\}$/m.exec(source) ?? fail(`${DEFINITIONS} has no limits! { … }`);
  const definition = /((?: {4}\/\/\/ .*\n)+) {4}(\w+): \w+ = ([^,]+), "(\w*)", [^"]+, "([^"]+)";\n/g;
  const found = [...body.matchAll(definition)].map(([whole, doc, name, value, unit, error]) => {
    const text = doc
      .replace(/ *\/\/\/ /g, ' ')
      .replace(/\s+/g, ' ')
      .trim()
      .replace(/\.$/, '');
    return { whole, name: camelCase(name), text, value: shown(evaluate(value), unit), error };
  });
  const rest = found.reduce((left, { whole }) => left.replace(whole, ''), body).trim();
  if (rest !== '') fail(`${DEFINITIONS} has a definition in another form:\n${rest}`);
  const options = await read(OPTIONS);
  for (const { name } of found) {
    if (!options.includes(`  readonly ${name}?: number;`)) fail(`ConvoyLimits in ${OPTIONS} lacks ${name}.`);
  }
  return found.map(({ whole, ...limit }) => limit);
}

async function withValue(limit) {
  const source = await read(limit.file);
  const declared = new RegExp(`\\bconst ${limit.constant}(?:: [\\w<>]+)? = ([^;]+);`).exec(source);
  if (declared === null) fail(`${limit.file} has no constant ${limit.constant}.`);
  const seconds = /^Duration::from_secs\((\d+)\)$/.exec(declared[1]);
  const value = seconds === null ? shown(evaluate(declared[1]), limit.unit) : shown(Number(seconds[1]) * 1_000, 'ms');
  return { ...limit, value };
}

/** The page with tables of these limits. */
export async function limitsPage() {
  const { configurable, fixed } = await limitsInCode();
  const tables = {
    configurable: [
      '| limit | default | name | error |\n|---|---|---|---|',
      ...configurable.map(
        ({ text, value, name, error }) => `| ${lowerFirst(text)} | ${value} | \`${name}\` | ${error} |`,
      ),
    ],
    fixed: [
      '| limit | value | error |\n|---|---|---|',
      ...fixed.map(({ text, value, error }) => `| ${text} | ${value} | ${error} |`),
    ],
  };
  let page = await readFile(limitsFile, 'utf8');
  for (const [name, lines] of Object.entries(tables)) {
    const place = new RegExp(`(<!-- ${name}: [^>]*-->\n)[\\s\\S]*?(<!-- end -->)`);
    if (!place.test(page)) fail(`docs/limits.md has no place for the table of ${name} limits.`);
    page = page.replace(place, (_, begin, end) => `${begin}\n${lines.join('\n')}\n\n${end}`);
  }
  return page;
}

/** Throws unless the page has the limits of the code. */
export async function checkLimits() {
  if ((await limitsPage()) === (await readFile(limitsFile, 'utf8'))) return;
  fail('docs/limits.md does not list the limits of the code: run node scripts/limits-reference.mjs.');
}

const read = (file) => readFile(join(root, file), 'utf8');

/** The value of a constant: a product or a shift of whole numbers. */
function evaluate(text) {
  const digits = text.replaceAll('_', '').trim();
  const parts = /^(\d+)(?: (<<|\*) (\d+))?$/.exec(digits) ?? fail(`${text} is no number, shift or product.`);
  const [one, other] = [Number(parts[1]), Number(parts[3] ?? 0)];
  if (parts[2] === undefined) return one;
  return parts[2] === '*' ? one * other : one * 2 ** other;
}

function shown(value, unit) {
  const count = (number, name) => `${number.toLocaleString('en-US')}${name}`;
  if (unit === '') return count(value, '');
  if (unit === 'bytes') return value % 2 ** 20 === 0 ? count(value / 2 ** 20, ' MiB') : count(value / 2 ** 10, ' KiB');
  if (unit !== 'ms') return fail(`${unit} is no unit.`);
  if (value % 60_000 === 0) return count(value / 60_000, ' min');
  return value % 1_000 === 0 ? count(value / 1_000, ' s') : count(value, ' ms');
}

const camelCase = (name) => name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());

/** The texts are sentences in the code, and cells in the table. */
function lowerFirst(text) {
  return /^[A-Z][a-z]/.test(text) ? text[0].toLowerCase() + text.slice(1) : text;
}

function fail(message) {
  throw new Error(message);
}

if (process.argv[1] === import.meta.filename) await writeFile(limitsFile, await limitsPage());
