/**
 * What the standard environment variables of OpenTelemetry say, as options. An error names the variable, and repeats no
 * header, because headers hold keys.
 *
 * Only what is read here has an effect. Everything is sent to one collector, so variables of one signal may repeat those
 * of all signals, but not contradict them.
 */

import { settingError } from './setting-error.js';
import type { OtlpOptions, PrometheusOptions, TelemetryOptions } from './telemetry-options.js';

/** The environment of a process. */
export type Environment = Readonly<Record<string, string | undefined>>;

const SIGNALS = ['traces', 'metrics', 'logs'] as const;
type Signal = (typeof SIGNALS)[number];

/** The port at which OpenTelemetry serves Prometheus. */
const PROMETHEUS_PORT = 9464;

/** Whether the operator has turned off telemetry, also what the code turns on. */
export function isDisabled(env: Environment): boolean {
  return env.OTEL_SDK_DISABLED?.trim().toLowerCase() === 'true';
}

/** The options in `env`. Empty variables count as missing. */
export function telemetryFrom(env: Environment): TelemetryOptions {
  const resource = pairsIn(env, 'OTEL_RESOURCE_ATTRIBUTES');
  const { 'service.name': named, ...attributes } = resource;
  const serviceName = env.OTEL_SERVICE_NAME || named;
  const exporters = exportersIn(env);
  const otlp = otlpIn(env, exporters);
  const sampleRatio = ratioIn(env);
  const prometheus = prometheusIn(env, exporters.metrics);
  return {
    ...(serviceName === undefined ? {} : { serviceName }),
    ...(Object.keys(attributes).length === 0 ? {} : { resource: attributes }),
    ...(otlp === null ? {} : { otlp }),
    ...(sampleRatio === null ? {} : { sampleRatio }),
    ...(prometheus === null ? {} : { prometheus }),
  };
}

/** The exporters of each signal; `null` where the variable is missing. */
type Exporters = Readonly<Record<Signal, readonly string[] | null>>;

function exportersIn(env: Environment): Exporters {
  const exportersOf = (signal: Signal): readonly string[] | null => {
    const variable = `OTEL_${signal.toUpperCase()}_EXPORTER`;
    const text = env[variable];
    if (!text) return null;
    const known = signal === 'metrics' ? ['otlp', 'none', 'prometheus'] : ['otlp', 'none'];
    const names = text.split(',').map((name) => name.trim());
    for (const name of names) {
      if (!known.includes(name))
        throw settingError(`${variable} is ${JSON.stringify(text)}: give ${known.join(' or ')}.`);
    }
    return names;
  };
  return { traces: exportersOf('traces'), metrics: exportersOf('metrics'), logs: exportersOf('logs') };
}

/** The collector that one signal is sent to. */
interface Target {
  readonly endpoint: string;
  readonly protocol: NonNullable<OtlpOptions['protocol']>;
  readonly headers: Readonly<Record<string, string>>;
}

function otlpIn(env: Environment, exporters: Exporters): OtlpOptions | null {
  const sent = SIGNALS.filter((signal) => {
    const names = exporters[signal];
    return names === null ? endpointOf(env, signal) !== null : names.includes('otlp');
  });
  const [first, ...others] = sent;
  if (first === undefined) return null;
  const target = targetOf(env, first);
  for (const other of others) expectSame(other, targetOf(env, other), first, target);
  const interval = env.OTEL_METRIC_EXPORT_INTERVAL;
  const has = (signal: Signal): boolean => sent.includes(signal);
  return {
    ...target,
    traces: has('traces'),
    metrics: has('metrics'),
    logs: has('logs'),
    ...(interval ? { intervalMs: numberIn('OTEL_METRIC_EXPORT_INTERVAL', interval) } : {}),
  };
}

function endpointOf(env: Environment, signal: Signal): string | null {
  return env[variableOf(signal, 'ENDPOINT')] || env.OTEL_EXPORTER_OTLP_ENDPOINT || null;
}

function targetOf(env: Environment, signal: Signal): Target {
  const protocol = protocolOf(env, signal);
  const own = env[variableOf(signal, 'ENDPOINT')];
  const endpoint =
    own && protocol !== 'grpc'
      ? withoutPath(own, signal)
      : (endpointOf(env, signal) ?? (protocol === 'grpc' ? 'http://localhost:4317' : 'http://localhost:4318'));
  const headers = env[variableOf(signal, 'HEADERS')] ? variableOf(signal, 'HEADERS') : 'OTEL_EXPORTER_OTLP_HEADERS';
  return { endpoint: endpoint.replace(/\/+$/, ''), protocol, headers: pairsIn(env, headers) };
}

function protocolOf(env: Environment, signal: Signal): Target['protocol'] {
  const own = variableOf(signal, 'PROTOCOL');
  const variable = env[own] ? own : 'OTEL_EXPORTER_OTLP_PROTOCOL';
  const text = env[variable] || 'http/protobuf';
  if (text === 'grpc' || text === 'http/protobuf') return text;
  throw settingError(`${variable} is ${JSON.stringify(text)}: give grpc or http/protobuf.`);
}

/** Over HTTP, the variable of one signal is the whole URL, and that of all signals its beginning. */
function withoutPath(url: string, signal: Signal): string {
  const end = `/v1/${signal}`;
  if (url.endsWith(end)) return url.slice(0, -end.length);
  throw settingError(
    `${variableOf(signal, 'ENDPOINT')} does not end with ${end}. Set OTEL_EXPORTER_OTLP_ENDPOINT instead.`,
  );
}

function expectSame(signal: Signal, target: Target, first: Signal, expected: Target): void {
  for (const part of ['endpoint', 'protocol', 'headers'] as const) {
    if (JSON.stringify(target[part]) === JSON.stringify(expected[part])) continue;
    throw settingError(
      `The OTLP ${part} of ${signal} is another than that of ${first}, but all signals are sent to one collector. ` +
        `Set OTEL_EXPORTER_OTLP_${part.toUpperCase()} for all of them, or turn one off: ` +
        `OTEL_${signal.toUpperCase()}_EXPORTER=none.`,
    );
  }
}

function variableOf(signal: Signal, part: 'ENDPOINT' | 'PROTOCOL' | 'HEADERS'): string {
  return `OTEL_EXPORTER_OTLP_${signal.toUpperCase()}_${part}`;
}

function ratioIn(env: Environment): number | null {
  const { OTEL_TRACES_SAMPLER: sampler, OTEL_TRACES_SAMPLER_ARG: argument } = env;
  switch (sampler?.replace(/^parentbased_/, '')) {
    case undefined:
    case '':
      return null;
    case 'always_on':
      return 1;
    case 'always_off':
      return 0;
    case 'traceidratio':
      return argument ? numberIn('OTEL_TRACES_SAMPLER_ARG', argument) : 1;
    default:
      throw settingError(
        `OTEL_TRACES_SAMPLER is ${JSON.stringify(sampler)}: give always_on, always_off or traceidratio, ` +
          'with or without parentbased_ before it.',
      );
  }
}

function prometheusIn(env: Environment, exporters: readonly string[] | null): PrometheusOptions | null {
  const { OTEL_EXPORTER_PROMETHEUS_HOST: host, OTEL_EXPORTER_PROMETHEUS_PORT: port } = env;
  if (exporters === null ? !port : !exporters.includes('prometheus')) return null;
  return {
    ...(host ? { host } : {}),
    port: port ? numberIn('OTEL_EXPORTER_PROMETHEUS_PORT', port) : PROMETHEUS_PORT,
  };
}

function numberIn(variable: string, text: string): number {
  if (/^\s*\d+(\.\d+)?\s*$/.test(text)) return Number(text);
  throw settingError(`${variable} is ${JSON.stringify(text)}, which is not a number.`);
}

/** The pairs of a list such as `a=1,b=2`; values are percent-encoded. */
function pairsIn(env: Environment, variable: string): Record<string, string> {
  const pairs: Record<string, string> = {};
  for (const part of (env[variable] || '').split(',')) {
    if (part.trim() === '') continue;
    const at = part.indexOf('=');
    const name = part.slice(0, Math.max(at, 0)).trim();
    const value = decoded(part.slice(at + 1).trim());
    if (name === '' || value === null) {
      throw settingError(`${variable} is no list of names and values. Write name=value,name=value, percent-encoded.`);
    }
    pairs[name] = value;
  }
  return pairs;
}

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}
