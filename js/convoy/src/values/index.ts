/** Shared by every other folder: errors, ids, and checks of storable values. Runs in browsers. */
export {
  ConvoyError,
  type ConvoyErrorCode,
  type ConvoyErrorOptions,
  type ConvoyErrorPayload,
  convoyError,
  errorFromPayload,
  errorPayloadFrom,
  isConvoyError,
  isConvoyErrorCode,
  statusForCode,
} from './errors.js';
export { formatId, type Id, type IdInput, type IdParts, idOf, isIdOf, isUuid, parseId } from './ids.js';
export { formatPath, type JsonProblem, MAX_DEPTH, sendingProblem } from './json.js';
export { nearest } from './nearest.js';
export { assertStorable, storageProblem, unstorableText } from './storable-json.js';
