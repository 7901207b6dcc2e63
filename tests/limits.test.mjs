/** Each limit in the code has a test of its edge: at the limit it works, and one beyond is the named error. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { limitsInCode } from '../scripts/limits-reference.mjs';

const root = path.join(import.meta.dirname, '..');
const ENGINE = 'crates/convoy/tests/engine';
const ENGINE_UNIT = 'crates/convoy/src';
const HEAD = 'a_url_and_a_number_of_headers_of_the_limit_are_read_and_one_more_is_not';
const SETTINGS = 'js/convoy/src/server/row-security/settings.test.ts';
const TIMES = `${ENGINE}/limits/times.rs`;
const SERVER = 'js/convoy/src/server';
const SCHEMA = 'js/convoy/src/schema/fields.test.ts';
const LOG = `${SERVER}/telemetry/call-log.test.ts`;
const SQL = 'js/convoy/src/sql/sql.test.ts';
const CLIENT = 'js/convoy/src/client';
const AUTH = 'js/convoy-auth/src';
const KEYS = `${AUTH}/jwt/remote-keys.test.ts`;

/** By limit: the file and the name of its test. A new limit needs a line, and so a test. */
const EDGES = {
  bodyBytes: [`${ENGINE}/limits.rs`, 'a_body_of_the_limit_is_read_and_one_byte_more_is_not'],
  resultBytes: [`${ENGINE}/limits.rs`, 'a_result_of_the_limit_is_sent_and_one_byte_more_undoes_its_mutation'],
  queryMs: [`${ENGINE}/limits.rs`, 'a_call_within_its_time_ends_and_one_beyond_has_no_effect'],
  mutationMs: [`${ENGINE}/limits.rs`, 'a_call_within_its_time_ends_and_one_beyond_has_no_effect'],
  actionMs: [`${ENGINE}/limits.rs`, 'a_call_within_its_time_ends_and_one_beyond_has_no_effect'],
  retries: [`${ENGINE}/limits.rs`, 'a_mutation_is_retried_as_often_as_the_limit_and_no_more'],
  workerUnresponsiveMs: [
    'tests/blocked-threads.test.ts',
    'has its worker replaced when a call there has timed out, and the calls queued there return',
  ],
  maxPendingCalls: [`${ENGINE}/http.rs`, 'calls_beyond_max_pending_calls_are_refused'],
  routes: [`${ENGINE}/routes/limits.rs`, 'routes_have_a_limit_of_their_own_and_end_on_the_code_they_began_with'],
  routesPerAddress: [`${ENGINE}/routes/limits.rs`, 'one_address_behind_a_trusted_proxy_cannot_take_every_place'],
  streams: [`${ENGINE}/sessions.rs`, 'streams_are_limited_per_process_and_per_proxied_address'],
  streamsPerAddress: [`${ENGINE}/sessions.rs`, 'streams_are_limited_per_process_and_per_proxied_address'],
  queriesPerStream: [`${ENGINE}/sessions.rs`, 'a_query_that_cannot_be_served_is_refused_by_itself'],
  contextRefreshMs: [
    `${ENGINE}/limits.rs`,
    'the_context_of_a_quiet_stream_is_made_again_at_its_interval_and_not_before',
  ],
  idleQueryMs: [
    `${ENGINE_UNIT}/live/registry/tests.rs`,
    'a_result_without_subscribers_is_retained_until_it_may_have_changed',
  ],
  resultCacheBytes: [
    `${ENGINE_UNIT}/live/registry/tests.rs`,
    'the_oldest_of_equal_results_without_subscribers_are_dropped_beyond_their_size',
  ],
  maxDocumentsRead: [`${ENGINE}/store.rs`, 'a_scan_over_the_read_limit_fails_without_fetching_all_rows'],
  maxDocumentsWritten: [`${ENGINE}/store.rs`, 'a_mutation_over_the_write_limit_writes_nothing'],
  documentBytes: [
    `${ENGINE}/limits/documents.rs`,
    'a_document_of_the_limit_is_written_and_one_byte_more_has_no_effect',
  ],
  heartbeatMs: [TIMES, 'quiet_streams_get_a_heartbeat_at_the_interval_and_not_before'],
  headerBytes: [`${ENGINE}/limits.rs`, 'headers_of_the_limit_are_read_and_one_byte_more_is_not'],
  bodyMs: [TIMES, 'a_body_is_waited_for_as_long_as_the_limit'],
  headerMs: [TIMES, 'headers_and_a_first_message_are_waited_for_as_long_as_the_limit'],
  slowReaderMs: [`${ENGINE_UNIT}/http/write_timeout.rs`, 'slow_readers_are_waited_for_and_stalled_ones_are_closed'],
  connectionMs: [`${ENGINE}/limits.rs`, 'a_call_waits_for_a_connection_no_longer_than_the_limit'],
  staticBytes: [`${ENGINE}/limits.rs`, 'static_files_of_the_limits_are_served_and_one_more_or_one_byte_more_is_not'],
  staticFiles: [`${ENGINE}/limits.rs`, 'static_files_of_the_limits_are_served_and_one_more_or_one_byte_more_is_not'],
  pollMs: [TIMES, 'the_change_log_is_read_at_the_interval_and_not_before'],
  untrackedPollMs: [TIMES, 'a_table_without_triggers_is_polled_at_the_interval_and_not_before'],
  triggerCheckMs: [TIMES, 'triggers_are_checked_at_the_interval_and_not_before'],
  MAX_PAGE: ['js/convoy/src/server/pages.test.ts', 'numItems: 32_000'],
  'function-calls.ts MAX_DEPTH': ['js/convoy/src/server/function-calls.test.ts', 'is nested deeper than 32 levels'],
  'value.rs MAX_DEPTH': [`${ENGINE_UNIT}/value.rs`, 'check(&nest(MAX_DEPTH + 1))'],
  BATCHES: [
    `${ENGINE_UNIT}/dispatch/host.rs`,
    'batches_of_the_limit_may_wait_and_one_more_is_refused_until_one_is_taken',
  ],
  MAX_HOST_RETRIES: [`${ENGINE}/lost_workers.rs`, 'a_query_runs_again_at_most_twice'],
  MAX_KEY_BYTES: [`${ENGINE}/idempotency.rs`, 'a_key_is_printable_and_has_at_most_128_characters'],
  MAX_CONTROL_MESSAGES: [`${ENGINE_UNIT}/live/registry/tests.rs`, 'a_client_with_unread_refusals_is_disconnected'],
  MAX_PENDING_ACKS: [`${ENGINE_UNIT}/live/registry/tests.rs`, 'a_session_with_too_many_unacknowledged_mutations_ends'],
  AUTH_GRACE: [
    `${ENGINE_UNIT}/live/registry/tests/share_key.rs`,
    'delivery_stops_at_expiry_until_a_new_token_and_the_grace_period_is_limited',
  ],
  MAX_WAITING: ['js/convoy/src/client/mutation-order.test.ts', 'up to a limit of those that wait'],
  MAX_CALLERS: [
    `${ENGINE_UNIT}/rate_limit/buckets.rs`,
    'full_buckets_are_forgotten_and_callers_beyond_the_places_share',
  ],
  MAX_URL_BYTES: [`${ENGINE}/limits.rs`, HEAD],
  MAX_HEADERS: [`${ENGINE}/limits.rs`, HEAD],
  MAX_CONNECTIONS: [`${ENGINE}/metrics.rs`, 'sixteen_connections_are_served_at_once_and_the_next_waits_for_a_place'],
  MAX: [`${ENGINE_UNIT}/trusted_proxies.rs`, 'as_many_proxies_or_networks_as_the_limit_may_be_given_and_no_more'],
  'schema.ts MAX_NAME_BYTES': [
    'js/convoy/src/schema/schema.test.ts',
    "['t'.repeat(63)]: defineTable({}) })).not.toThrow()",
  ],
  MAX_FIELD_DEPTH: ['js/convoy/src/schema/schema.test.ts', "'a.b.c.d' is nested too deeply"],
  MAX_SETTINGS: [SETTINGS, 'returned 33 settings, and 32 are the most'],
  MAX_VALUE_BYTES: [SETTINGS, 'app.user has 8194 bytes, and 8192 are the most'],
  'bounded-json.ts MAX_MESSAGE_BYTES': [
    'js/convoy/src/server/bounded-json.test.ts',
    'a message of the limit is encoded and one byte more is not',
  ],
  'read_cache.rs MAX_BYTES': [
    `${ENGINE_UNIT}/read_cache/tests.rs`,
    'answers_used_least_recently_are_dropped_when_the_memory_is_full',
  ],
  MAX_ANSWER: [`${ENGINE_UNIT}/read_cache/tests.rs`, 'an_answer_of_the_limit_is_kept_and_one_byte_more_is_not'],
  MAX_QUEUED: [`${ENGINE_UNIT}/events.rs`, 'a_slow_reader_loses_events_and_learns_how_many'],
  MAX_LINE_BYTES: [`${ENGINE_UNIT}/output.rs`, 'a_cut_is_between_characters_and_states_the_size'],
  'output.rs MAX_LINES': [
    `${ENGINE_UNIT}/output.rs`,
    'a_blocked_stream_blocks_no_writer_and_dropped_lines_are_counted',
  ],
  'output.rs MAX_BYTES': [`${ENGINE_UNIT}/output.rs`, 'bytes_are_bounded_as_well_as_lines'],
  MAX_ERROR_CHARACTERS: [
    'js/convoy/src/server/encode-result.test.ts',
    'has a message of the limit as it is, and one more character is cut',
  ],
  MAX_SPANS: [`${ENGINE_UNIT}/telemetry/trace.rs`, 'a_full_queue_drops_spans_and_counts_them'],
  MAX_WAITING_TRACES: [
    `${ENGINE_UNIT}/telemetry/mod.rs`,
    'traces_up_to_the_limit_wait_for_an_export_and_more_are_counted',
  ],
  MAX_WAITING_LINES: [
    `${ENGINE_UNIT}/telemetry/logs.rs`,
    'each_collector_receives_each_line_until_it_is_dropped_and_full_queues_are_counted',
  ],
  MAX_STREAMS: ['js/convoy/src/client/stream-limit.test.ts', 'toBe(MAX_STREAMS)'],
  DRAIN_TIMEOUT: [
    'tests/drain-time.test.ts',
    'a call that ends within nine seconds is answered, and the process exits without another',
  ],
  MAX_COUNT: [`${SERVER}/scan.test.ts`, 'takes counts up to the limit, and none beyond'],
  MIN_REFRESH_MS: [`${SERVER}/function-calls.test.ts`, 'takes an interval of the limit'],
  RETRIES: [`${SERVER}/own-transactions.test.ts`, 'a transaction fails with CONFLICT after the last retry'],
  'caller-fingerprint.ts MAX_DEPTH': [
    `${SERVER}/caller-fingerprint.test.ts`,
    'reads members as deep as the limit, and refuses to repeat a call whose context is deeper',
  ],
  MAX_COLLECTED_BYTES: [
    `${SERVER}/route-call.test.ts`,
    'of several chunks is sent as a whole if those before the last one have no more than the limit',
  ],
  FREE_REPEATS: [`${ENGINE_UNIT}/rate_limit.rs`, 'repeated_attempts_of_a_charged_call_are_free_for_a_limited_number'],
  MAX_LENGTH: [`${SERVER}/canonical.test.ts`, 'exists for values of the limits'],
  'canonical.ts MAX_DEPTH': [`${SERVER}/canonical.test.ts`, 'exists for values of the limits'],
  MAX_UNION_DEPTH: [SCHEMA, 'a field is found in as many unions as the limit, and in no more'],
  MAX_RATE: [`${SERVER}/function-limits.test.ts`, 'tokens: MAX_RATE + 1'],
  MAX_AGE: [`${SERVER}/functions.test.ts`, 'MAX_AGE + 1'],
  MAX_ROLE_BYTES: [SETTINGS, "'é'.repeat((MAX_ROLE_BYTES + 1) / 2)"],
  'tag.ts MAX_NAME_BYTES': [SQL, "'ä'.repeat((MAX_NAME_BYTES + 1) / 2)"],
  MAX_DIMENSIONS: [SQL, 'a dimension more than the limit'],
  'call-log.ts MAX_MESSAGE_BYTES': [LOG, 'is a message of the limit, and what is more of one is cut'],
  MAX_FIELDS_BYTES: [LOG, 'has the size of the limit, and what is more is cut'],
  MAX_TEXT_BYTES: [LOG, 'has texts of the limit, and what is more of one is cut'],
  MAX_MEMBERS: [LOG, 'has lists and objects of as many members as the limit, and more are counted'],
  'log-fields.ts MAX_DEPTH': [LOG, 'is as deep as the limit, and a note is in the place of what is deeper'],
  'recent_lines.rs MAX_LINES': [
    `${ENGINE_UNIT}/output/recent_lines.rs`,
    'lines_are_whole_and_only_the_last_ones_are_kept',
  ],
  MAX_BLOCKED_WITHOUT_CALL: [
    `${ENGINE_UNIT}/dispatch/workers/tests.rs`,
    'a_worker_blocked_without_a_call_is_reported_stuck',
  ],
  MAX_ATTEMPT_MS: [`${CLIENT}/mutation-order.test.ts`, 'by a request that may take a minute'],
  MAX_ATTEMPT_AFTER_LOSS_MS: [
    `${CLIENT}/mutation-order.test.ts`,
    'again, where a request hangs after the live connection was lost',
  ],
  MAX_RETRY_MS: [`${CLIENT}/mutation-order.test.ts`, 'again until 10 s have passed without a response'],
  'mutations.ts MAX_AGE_MS': [
    `${CLIENT}/persisted-mutations.test.ts`,
    'are sent again where they were sent first 23 hours ago',
  ],
  SHOWN_TIMEOUT_MS: [`${CLIENT}/settled.test.ts`, 'at that timeout, and not before'],
  MAX_FOREIGN_AGE_MS: [
    `${CLIENT}/persisted-mutations.test.ts`,
    'of someone who does not sign in again are kept for seven days',
  ],
  MAX_WAIT_MS: [
    `${CLIENT}/result-cache-writes.test.ts`,
    'a store that cannot be read delays the queries of a page once',
  ],
  MAX_IDS: [`${CLIENT}/temp-ids.test.ts`, 'as many ids as the limit are remembered, and one more displaces the oldest'],
  MAX_FRAME_CHARS: [
    `${CLIENT}/stream-link.test.ts`,
    'a frame of the limit is read, and one of a character more is PAYLOAD_TOO_LARGE',
  ],
  MAX_TOKEN_REQUESTS: [`${CLIENT}/auth.test.ts`, 'requests of a token count for ten seconds'],
  TOKEN_REQUESTS_MS: [`${CLIENT}/auth.test.ts`, 'tokenRequested(TOKEN_REQUESTS_MS)'],
  MAX_EVENTS: ['js/convoy/src/react/devtools/event-log.test.ts', 'only the latest events are kept'],
  MAX_TOKEN_CHARS: [
    `${AUTH}/credentials.test.ts`,
    'a token of the limit is read, and one with a character more is refused',
  ],
  MAX_KEYS: [KEYS, 'with a key more than the limit, and one with as many is used'],
  'fetch-json.ts MAX_BYTES': [KEYS, 'that has a byte more than the limit, and one of the limit is used'],
  TIMEOUT_MS: [KEYS, 'an answer is waited for no longer than five seconds'],
  'remote-keys.ts MAX_AGE_MS': [KEYS, 'its keys are used for an hour, and not longer'],
  FAILURE_PAUSE_MS: [KEYS, 'it is asked once in five seconds'],
  UNKNOWN_KEY_PAUSE_MS: [
    KEYS,
    'a token of a new key is accepted at once, if the keys are 30 seconds old, and not before',
  ],
  MAX_ENTRIES: [
    `${AUTH}/jwt/token-cache.test.ts`,
    'as many tokens as the limit are remembered, and one more displaces the one used least recently',
  ],
  MIN_SECRET_BYTES: [`${AUTH}/jwt/tokens.test.ts`, 'with a short secret'],
  MAX_PREFIX_CHARS: [`${AUTH}/api-keys.test.ts`, 'has a prefix of the limit'],
  MAX_QUERIES: [
    `${AUTH}/better-auth-adapter/scans.test.ts`,
    'looks up as many values of an `in` as the limit in the index, and filters by more',
  ],
};

const { configurable, fixed } = await limitsInCode();
const isRepeated = ({ constant }) => fixed.filter((other) => other.constant === constant).length > 1;
const names = [
  ...configurable.map(({ name }) => name),
  ...fixed.map((limit) => (isRepeated(limit) ? `${path.basename(limit.file)} ` : '') + limit.constant),
];

test('every limit is listed here, and every one listed here exists', () => {
  expect(Object.keys(EDGES).sort()).toEqual([...names].sort());
});

test.each(names)('%s has a test of its edge', async (name) => {
  const [file, text] = EDGES[name];
  const source = await readFile(path.join(root, file), 'utf8');
  expect(source, `${file} has no test “${text}”`).toContain(text);
});

test('a limit that cannot be configured has a value that is read from the code', () => {
  const shownValue = (name) => fixed.find(({ file, constant }) => `${path.basename(file)} ${constant}` === name)?.value;
  expect(shownValue('idempotency.rs MAX_KEY_BYTES')).toBe('128');
  expect(shownValue('session.rs AUTH_GRACE')).toBe('30 s');
  expect(shownValue('fetch-json.ts MAX_BYTES')).toBe('256 KiB');
  expect(shownValue('remote-keys.ts MAX_AGE_MS')).toBe('1 h');
  expect(shownValue('persisted-mutations.ts MAX_FOREIGN_AGE_MS')).toBe('7 days');
  expect(configurable.find(({ name }) => name === 'slowReaderMs')).toMatchObject({ value: '1 min' });
});
