/** `@avvos/convoy/node`: Convoy inside a Node program. */
export type { BaseContext, ConvoyContext, ConvoyRequest, CreateContext, QueryContext } from './contexts.js';
export {
  type CallOptions,
  type Convoy,
  type ConvoyLimits,
  type ConvoyOptions,
  createConvoy,
  type EngineOptions,
  type ListenAddress,
} from './convoy.js';
export type { LoadReport } from './native.js';
export { describeFunctions, type FunctionDescription, type FunctionTree, type ProgramSource } from './program.js';
export { defineStartFile, type StartFile, type StartOptions } from './start-file.js';
