/** The options of metrics, traces and logs that leave the process. Types only. */

/** A collector that speaks OTLP, and what is sent to it. */
export interface OtlpOptions {
  /** Its URL, such as `http://localhost:4318`; over HTTP, `/v1/traces`, `/v1/metrics` and `/v1/logs` are added to it. */
  readonly endpoint: string;
  /** The protocol (`http/protobuf`); collectors take gRPC on a port of its own, mostly 4317. */
  readonly protocol?: 'grpc' | 'http/protobuf';
  /** Headers of each request, such as `{ authorization: 'Bearer …' }`. They are never logged. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Whether traces are sent (true). */
  readonly traces?: boolean;
  /** Whether metrics are sent (true). */
  readonly metrics?: boolean;
  /** Whether the log is sent (true). */
  readonly logs?: boolean;
  /** The interval at which metrics are sent, in milliseconds (60,000). */
  readonly intervalMs?: number;
}

/** The address at which Prometheus reads `/metrics`. */
export interface PrometheusOptions {
  /** The address to listen on (`127.0.0.1`). Nothing but the network protects the metrics. */
  readonly host?: string;
  /** The port, which no other listener of the process has. */
  readonly port: number;
}

/**
 * Metrics, traces and logs for other programs. All of it is off until a collector or a port is named, here or by the
 * [environment variables](https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/) of
 * OpenTelemetry. A member given here replaces what the environment says about it.
 */
export interface TelemetryOptions {
  /** The name of the service (`OTEL_SERVICE_NAME`, or `convoy`). */
  readonly serviceName?: string;
  /** Attributes of everything that is sent, added to those in `OTEL_RESOURCE_ATTRIBUTES`. */
  readonly resource?: Readonly<Record<string, string>>;
  /** The collector (`OTEL_EXPORTER_OTLP_ENDPOINT` and the variables beside it); `false` for none. */
  readonly otlp?: string | OtlpOptions | false;
  /**
   * The share of traces that are kept (0.01, or `OTEL_TRACES_SAMPLER_ARG`), 0 to 1. Those of errors and of slow calls are
   * always kept.
   */
  readonly sampleRatio?: number;
  /** Calls that take at least this long are slow, in milliseconds (1,000). */
  readonly slowMs?: number;
  /** Whether the `traceparent` of a client makes its span the parent of the request (false); it is a link otherwise. */
  readonly trustTraceparent?: boolean;
  /**
   * Where Prometheus reads `/metrics`: a port on the loopback address, `'0.0.0.0:9464'`, or an object
   * (`OTEL_EXPORTER_PROMETHEUS_HOST` and `_PORT`); `false` for nowhere.
   */
  readonly prometheus?: number | string | PrometheusOptions | false;
}
