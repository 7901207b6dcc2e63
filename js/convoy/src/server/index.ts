/**
 * `@avvos/convoy/node`: embeds Convoy in a Node program.
 *
 * @packageDocumentation
 */

export type { Preloaded } from '../protocol/preloaded.js';
export type { TableBackfill } from './backfill.js';
export { type BuildConfig, type ConvoyConfig, defineConfig } from './config.js';
export type {
  BaseContext,
  ConvoyContext,
  ConvoyRequest,
  CreateContext,
  Log,
  LogLine,
  MutationContext,
  QueryContext,
  RunFunction,
} from './contexts.js';
export {
  type CallOptions,
  type Convoy,
  type ConvoyModuleOptions,
  type ConvoyOptions,
  createConvoy,
  type ListenAddress,
} from './convoy.js';
export type { CorsOptions } from './cors-options.js';
export type { NodeHandler, UpgradeHandler } from './handlers/node-handler.js';
export type { WebHandler, WebHandlers } from './handlers/web-handlers.js';
export type { FunctionDescription, LoadReport, PlannedStep } from './native.js';
export type { ConvoyLimits, EngineOptions, LogFormat, OpenApiOptions, SecurityHeaders } from './options.js';
export type { PreloadOptions } from './preload.js';
export { describeFunctions, type FunctionTree, type ProgramSource } from './program.js';
export type { ProgramModule } from './program-module.js';
export { createDb, createNodeHandler, createNodeServer, createQuerySubscriptionManager } from './removed.js';
export type { RowLevelSecurity, RowSettings } from './row-security/row-level-security.js';
export { serverExports } from './server-exports.js';
export { defineStartFile, type StartFile, type StartOptions, type StartSource } from './start-file.js';
export type { ConvoyEvent, ConvoyEventType, OnEvent } from './telemetry/events.js';
export type { OtlpOptions, PrometheusOptions, TelemetryOptions } from './telemetry/telemetry-options.js';
