import { describe, expect, it } from 'vitest';
import type { TelemetryOptions } from './telemetry-options.js';
import { telemetrySettings } from './telemetry-settings.js';

const collector = {
  endpoint: 'http://localhost:4318',
  protocol: 'http/protobuf',
  headers: {},
  traces: true,
  metrics: true,
  logs: true,
};

const settings = (telemetry: unknown, env: Record<string, string> = {}) =>
  telemetrySettings(telemetry as TelemetryOptions, env);

describe('the options of telemetry', () => {
  it('are off until one is given', () => {
    expect(settings(undefined)).toBeNull();
    expect(settings({})).toBeNull();
    expect(settings({ otlp: false, prometheus: false })).toBeNull();
  });

  it('take a collector as a URL or an object', () => {
    expect(settings({ otlp: 'http://localhost:4318/' })).toEqual({ otlp: collector });
    const otlp = { endpoint: 'https://otel.example/convoy', protocol: 'grpc', logs: false, intervalMs: 5_000 };
    expect(settings({ otlp: { ...otlp, headers: { authorization: 'Bearer x' } } })).toEqual({
      otlp: { ...collector, ...otlp, headers: { authorization: 'Bearer x' } },
    });
  });

  it.each([
    [9464, { host: '127.0.0.1', port: 9464 }],
    ['9464', { host: '127.0.0.1', port: 9464 }],
    ['0.0.0.0:9464', { host: '0.0.0.0', port: 9464 }],
    ['[::1]:9464', { host: '::1', port: 9464 }],
    [{ port: 1 }, { host: '127.0.0.1', port: 1 }],
    [
      { host: 'metrics.internal', port: 65_535 },
      { host: 'metrics.internal', port: 65_535 },
    ],
  ])('take %j as the address for Prometheus', (prometheus, expected) => {
    expect(settings({ prometheus })).toEqual({ prometheus: expected });
  });

  it('pass on the rest as given', () => {
    const rest = { serviceName: 'chat', resource: { env: 'test' }, sampleRatio: 0, slowMs: 0, trustTraceparent: true };
    expect(settings(rest)).toEqual(rest);
  });

  it.each([
    [[], 'telemetry is not an object.'],
    [{ prometeus: 1 }, 'telemetry has no member prometeus. Did you mean prometheus?'],
    [{ serviceName: '' }, 'telemetry.serviceName is not a name.'],
    [{ resource: { env: 1 } }, 'telemetry.resource: the value of "env" is not a text.'],
    [{ sampleRatio: 1.1 }, 'telemetry.sampleRatio is not a number from 0 to 1.'],
    [{ sampleRatio: Number.NaN }, 'telemetry.sampleRatio is not a number from 0 to 1.'],
    [{ slowMs: -1 }, 'telemetry.slowMs is not a number of milliseconds.'],
    [{ trustTraceparent: 'yes' }, 'telemetry.trustTraceparent is neither true nor false.'],
    [{ otlp: true }, 'telemetry.otlp is not an object.'],
    [{ otlp: { protocol: 'grpc' } }, 'the endpoint is no URL of a collector, such as http://localhost:4318.'],
    [{ otlp: 'localhost:4318' }, 'the endpoint is no URL of a collector'],
    [{ otlp: 'http://collector?key=s3cret' }, 'has a query or a fragment'],
    [{ otlp: 'http://user:s3cret@collector' }, 'contains a user or a password. Give them in headers.'],
    [{ otlp: { ...collector, protocol: 'http/json' } }, "protocol is neither 'grpc' nor 'http/protobuf'."],
    [{ otlp: { ...collector, traces: 1 } }, 'telemetry.otlp.traces is neither true nor false.'],
    [{ otlp: { ...collector, intervalMs: 0 } }, 'telemetry.otlp.intervalMs is not a number of milliseconds.'],
    [{ otlp: { ...collector, headers: { 'a b': 'x' } } }, '"a b" is no name of a header.'],
    [{ otlp: { ...collector, headers: { key: 's3cret\nx: y' } } }, 'the value of key is not printable ASCII text.'],
    [{ prometheus: 0 }, 'telemetry.prometheus is not a port from 1 to 65535'],
    [{ prometheus: '::1:9464' }, 'telemetry.prometheus is not a port'],
    [{ prometheus: { host: '127.0.0.1' } }, 'telemetry.prometheus is not a port'],
  ])('refuse %j without repeating secrets', (telemetry, message) => {
    let refusal: unknown;
    try {
      settings(telemetry);
    } catch (error) {
      refusal = error;
    }
    expect(refusal).toMatchObject({ code: 'INVALID_ARGS', message: expect.stringContaining(message) });
    expect((refusal as Error).message).not.toContain('s3cret');
  });
});

describe('the environment of OpenTelemetry', () => {
  const OTEL_EXPORTER_OTLP_ENDPOINT = 'http://localhost:4318';

  it('turns on what it names', () => {
    expect(settings(undefined, { OTEL_EXPORTER_OTLP_ENDPOINT })).toEqual({ otlp: collector });
    expect(settings(undefined, { OTEL_EXPORTER_PROMETHEUS_PORT: '9464' })).toEqual({
      prometheus: { host: '127.0.0.1', port: 9464 },
    });
    const both = { OTEL_METRICS_EXPORTER: 'prometheus,otlp', OTEL_EXPORTER_PROMETHEUS_HOST: '0.0.0.0' };
    expect(settings(undefined, both)).toEqual({
      otlp: { ...collector, traces: false, logs: false },
      prometheus: { host: '0.0.0.0', port: 9464 },
    });
  });

  it('is read in full', () => {
    const env = {
      OTEL_SERVICE_NAME: 'chat',
      OTEL_RESOURCE_ATTRIBUTES: 'service.name=ignored,deployment.environment.name=test%2C%20one',
      OTEL_EXPORTER_OTLP_ENDPOINT: 'https://otel.example:4317',
      OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
      OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20x, x-team = a',
      OTEL_LOGS_EXPORTER: 'none',
      OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
      OTEL_TRACES_SAMPLER_ARG: '0.25',
      OTEL_METRIC_EXPORT_INTERVAL: '5000',
    };
    expect(settings(undefined, env)).toEqual({
      serviceName: 'chat',
      resource: { 'deployment.environment.name': 'test, one' },
      sampleRatio: 0.25,
      otlp: {
        endpoint: 'https://otel.example:4317',
        protocol: 'grpc',
        headers: { authorization: 'Bearer x', 'x-team': 'a' },
        traces: true,
        metrics: true,
        logs: false,
        intervalMs: 5_000,
      },
    });
  });

  it('may name one signal only, or repeat the collector for each', () => {
    const OTEL_EXPORTER_OTLP_TRACES_ENDPOINT = 'http://localhost:4318/v1/traces';
    expect(settings(undefined, { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT })).toEqual({
      otlp: { ...collector, metrics: false, logs: false },
    });
    const repeated = { OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT };
    expect(settings(undefined, repeated)).toEqual({ otlp: collector });
  });

  it.each([
    ['always_on', 1],
    ['parentbased_always_off', 0],
    ['traceidratio', 1],
  ])('takes the share of traces from the sampler %s', (OTEL_TRACES_SAMPLER, sampleRatio) => {
    expect(settings(undefined, { OTEL_TRACES_SAMPLER })).toEqual({ sampleRatio });
  });

  it('is replaced member by member, and its attributes are added to', () => {
    const env = {
      OTEL_EXPORTER_OTLP_ENDPOINT,
      OTEL_EXPORTER_OTLP_HEADERS: 'authorization=x',
      OTEL_EXPORTER_PROMETHEUS_PORT: '9464',
      OTEL_RESOURCE_ATTRIBUTES: 'a=1,b=2',
      OTEL_SERVICE_NAME: 'chat',
    };
    const telemetry = { otlp: 'http://other:4318', prometheus: false, resource: { b: '3' } };
    expect(settings(telemetry, env)).toEqual({
      serviceName: 'chat',
      otlp: { ...collector, endpoint: 'http://other:4318' },
      resource: { a: '1', b: '3' },
    });
  });

  it('turns off everything with OTEL_SDK_DISABLED', () => {
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SDK_DISABLED: 'true' };
    expect(settings({ prometheus: 9464, serviceName: 'chat' }, env)).toBeNull();
  });

  it('ignores empty variables', () => {
    const env = {
      OTEL_EXPORTER_OTLP_ENDPOINT: '',
      OTEL_TRACES_SAMPLER: '',
      OTEL_RESOURCE_ATTRIBUTES: '',
      OTEL_EXPORTER_PROMETHEUS_PORT: '',
      OTEL_TRACES_EXPORTER: '',
      OTEL_SERVICE_NAME: '',
    };
    expect(settings(undefined, env)).toBeNull();
  });

  it.each([
    [{ OTEL_TRACES_EXPORTER: 'console' }, 'OTEL_TRACES_EXPORTER is "console": give otlp or none.'],
    [{ OTEL_TRACES_SAMPLER: 'jaeger' }, 'OTEL_TRACES_SAMPLER is "jaeger"'],
    [{ OTEL_EXPORTER_PROMETHEUS_PORT: 'x' }, 'OTEL_EXPORTER_PROMETHEUS_PORT is "x", which is not a number.'],
    [{ OTEL_RESOURCE_ATTRIBUTES: 'a' }, 'OTEL_RESOURCE_ATTRIBUTES is no list of names and values.'],
    [
      { OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS: 'authorization=%s3cret' },
      'OTEL_EXPORTER_OTLP_HEADERS is no list of names and values.',
    ],
    [
      { OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' },
      'OTEL_EXPORTER_OTLP_PROTOCOL is "http/json": give grpc or http/protobuf.',
    ],
    [
      { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://localhost/traces' },
      'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT does not end with /v1/traces.',
    ],
    [
      { OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_LOGS_HEADERS: 'authorization=s3cret' },
      'The OTLP headers of logs is another than that of traces',
    ],
  ])('is refused by name where it says %j', (env, message) => {
    let refusal: unknown;
    try {
      settings(undefined, env as unknown as Record<string, string>);
    } catch (error) {
      refusal = error;
    }
    expect(refusal).toMatchObject({ code: 'INVALID_ARGS', message: expect.stringContaining(message) });
    expect((refusal as Error).message).not.toContain('s3cret');
  });
});
