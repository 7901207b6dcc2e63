/**
 * From `telemetry` and the environment to the settings of the engine. All of it is checked here, so that the engine
 * receives only what it can use.
 */

import { nearest } from '../../values/nearest.js';
import { type Environment, isDisabled, telemetryFrom } from './otel-environment.js';
import { settingError } from './setting-error.js';
import type { OtlpOptions, PrometheusOptions, TelemetryOptions } from './telemetry-options.js';

/** `telemetry` in the options of the engine. Absent members have the engine's defaults. */
export interface TelemetrySettings {
  readonly serviceName?: string;
  readonly resource?: Readonly<Record<string, string>>;
  readonly otlp?: Required<Omit<OtlpOptions, 'intervalMs'>> & Pick<OtlpOptions, 'intervalMs'>;
  readonly sampleRatio?: number;
  readonly slowMs?: number;
  readonly trustTraceparent?: boolean;
  readonly prometheus?: Required<PrometheusOptions>;
}

/** The settings; `null` if there are none. */
export function telemetrySettings(given: TelemetryOptions | undefined, env: Environment): TelemetrySettings | null {
  const checked = checkTelemetry(given ?? {}, 'telemetry');
  if (isDisabled(env)) return null;
  const fromEnv = checkTelemetry(telemetryFrom(env), 'The telemetry of the environment');
  const resource = { ...fromEnv.resource, ...checked.resource };
  const settings: TelemetrySettings = {
    ...fromEnv,
    ...checked,
    ...(Object.keys(resource).length === 0 ? {} : { resource }),
  };
  // `false` has replaced what the environment says.
  const entries = Object.entries(settings).filter(([, value]) => value !== undefined);
  return entries.length === 0 ? null : Object.fromEntries(entries);
}

/** Checks the options; `subject` begins each message. A member that is `undefined` here turns off that of the environment. */
export function checkTelemetry(given: unknown, subject: string): TelemetrySettings {
  const options = objectIn(given, subject, [
    'serviceName',
    'resource',
    'otlp',
    'sampleRatio',
    'slowMs',
    'trustTraceparent',
    'prometheus',
  ]) as TelemetryOptions;
  const { serviceName, resource, otlp, sampleRatio, slowMs, trustTraceparent, prometheus } = options;
  if (serviceName !== undefined && (typeof serviceName !== 'string' || serviceName === '')) {
    throw settingError(`${subject}.serviceName is not a name.`);
  }
  if (sampleRatio !== undefined && !(typeof sampleRatio === 'number' && sampleRatio >= 0 && sampleRatio <= 1)) {
    throw settingError(`${subject}.sampleRatio is not a number from 0 to 1.`);
  }
  if (slowMs !== undefined && !isCount(slowMs))
    throw settingError(`${subject}.slowMs is not a number of milliseconds.`);
  if (trustTraceparent !== undefined && typeof trustTraceparent !== 'boolean') {
    throw settingError(`${subject}.trustTraceparent is neither true nor false.`);
  }
  return {
    ...(serviceName === undefined ? {} : { serviceName }),
    ...(resource === undefined ? {} : { resource: textsIn(resource, `${subject}.resource`) }),
    ...(otlp === undefined ? {} : { otlp: otlpSettings(otlp, `${subject}.otlp`) }),
    ...(sampleRatio === undefined ? {} : { sampleRatio }),
    ...(slowMs === undefined ? {} : { slowMs }),
    ...(trustTraceparent === undefined ? {} : { trustTraceparent }),
    ...(prometheus === undefined ? {} : { prometheus: prometheusSettings(prometheus, `${subject}.prometheus`) }),
  } as TelemetrySettings;
}

/** The address in a port, a `host:port` or an object; `undefined` for `false`. */
export function prometheusSettings(given: unknown, subject: string): TelemetrySettings['prometheus'] {
  if (given === false) return undefined;
  const { host = '127.0.0.1', port } =
    typeof given === 'string' || typeof given === 'number'
      ? addressIn(String(given))
      : (objectIn(given, subject, ['host', 'port']) as unknown as PrometheusOptions);
  if (typeof host === 'string' && host !== '' && isCount(port) && port >= 1 && port <= 65_535) return { host, port };
  throw settingError(
    `${subject} is not a port from 1 to 65535, alone or after an address: 9464, 127.0.0.1:9464, [::1]:9464.`,
  );
}

function addressIn(text: string): { readonly host?: string; readonly port: number } {
  const [, bracketed, plain, port] = /^(?:(?:\[([^\]]+)\]|([^:]+)):)?(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  return { ...(host === undefined ? {} : { host }), port: Number(port) };
}

function otlpSettings(given: unknown, subject: string): TelemetrySettings['otlp'] {
  if (given === false) return undefined;
  const options = (typeof given === 'string'
    ? { endpoint: given }
    : objectIn(given, subject, [
        'endpoint',
        'protocol',
        'headers',
        'traces',
        'metrics',
        'logs',
        'intervalMs',
      ])) as unknown as OtlpOptions;
  const { endpoint, protocol = 'http/protobuf', headers = {}, traces = true, metrics = true, logs = true } = options;
  if (protocol !== 'grpc' && protocol !== 'http/protobuf') {
    throw settingError(`${subject}.protocol is neither 'grpc' nor 'http/protobuf'.`);
  }
  for (const [name, value] of Object.entries({ traces, metrics, logs })) {
    if (typeof value !== 'boolean') throw settingError(`${subject}.${name} is neither true nor false.`);
  }
  const { intervalMs } = options;
  if (intervalMs !== undefined && !(isCount(intervalMs) && intervalMs >= 1)) {
    throw settingError(`${subject}.intervalMs is not a number of milliseconds.`);
  }
  return {
    endpoint: endpointIn(endpoint, subject),
    protocol,
    headers: headersIn(headers, `${subject}.headers`),
    traces,
    metrics,
    logs,
    ...(intervalMs === undefined ? {} : { intervalMs }),
  };
}

/** The URL of a collector, without a slash at its end. Repeated by no message: it may contain a key. */
function endpointIn(given: unknown, subject: string): string {
  const url = typeof given === 'string' && URL.canParse(given) ? new URL(given) : null;
  if (url === null || !['http:', 'https:'].includes(url.protocol)) {
    throw settingError(`${subject}: the endpoint is no URL of a collector, such as http://localhost:4318.`);
  }
  if (url.username !== '' || url.password !== '') {
    throw settingError(`${subject}: the URL of the endpoint contains a user or a password. Give them in headers.`);
  }
  if (url.search !== '' || url.hash !== '') {
    throw settingError(`${subject}: the URL of the endpoint has a query or a fragment. Leave it out.`);
  }
  return (given as string).replace(/\/+$/, '');
}

/** The characters of a header's name, by RFC 9110. */
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const HEADER_VALUE = /^[\t\x20-\x7e]*$/;

function headersIn(given: unknown, subject: string): Readonly<Record<string, string>> {
  const headers = textsIn(given, subject);
  for (const [name, value] of Object.entries(headers)) {
    if (!HEADER_NAME.test(name)) throw settingError(`${subject}: ${JSON.stringify(name)} is no name of a header.`);
    if (!HEADER_VALUE.test(value)) throw settingError(`${subject}: the value of ${name} is not printable ASCII text.`);
  }
  return headers;
}

function textsIn(given: unknown, subject: string): Readonly<Record<string, string>> {
  const object = objectIn(given, subject);
  for (const [name, value] of Object.entries(object)) {
    if (typeof value !== 'string')
      throw settingError(`${subject}: the value of ${JSON.stringify(name)} is not a text.`);
  }
  return object as Record<string, string>;
}

/** Throws if `given` is no object, or has a member that is not in `known`. */
function objectIn(given: unknown, subject: string, known?: readonly string[]): Readonly<Record<string, unknown>> {
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    throw settingError(`${subject} is not an object.`);
  for (const key of known === undefined ? [] : Object.keys(given)) {
    if (known?.includes(key)) continue;
    const close = nearest(key, known ?? []);
    const hint = close === null ? `Its members are ${known?.join(', ')}.` : `Did you mean ${close}?`;
    throw settingError(`${subject} has no member ${key}. ${hint}`);
  }
  return given as Record<string, unknown>;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
