/**
 * The public error type: a code from a closed list, a message for the developer, and details for the program.
 *
 * A `ConvoyError` reaches the caller unchanged, also over the network; every other error stays on the server. Copies of
 * this package recognise each other's errors, because the brand is a registered symbol.
 */

/** Code → HTTP status. */
export const STATUS_OF = {
  INVALID_ARGS: 400,
  UNAUTHORIZED: 401,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  CONFLICT: 409,
  PAYLOAD_TOO_LARGE: 413,
  RATE_LIMITED: 429,
  INTERNAL: 500,
  UNAVAILABLE: 503,
  TIMEOUT: 504,
} as const;

/** The kind of an error, from a closed list that a program can switch over. */
export type ConvoyErrorCode = keyof typeof STATUS_OF;

/** A serialized error: the `error` member of a response or a frame. */
export interface ConvoyErrorPayload {
  /** The kind of the error. */
  readonly code: ConvoyErrorCode;
  /** The explanation, for the developer. */
  readonly message: string;
  /** JSON for the program, such as `{ issues: [{ path, message }] }`. */
  readonly details?: unknown;
  /** The id of the log entry with the cause, when the code is `INTERNAL`. */
  readonly errorId?: string;
}

/** The optional properties of an error. */
export interface ConvoyErrorOptions {
  /** JSON sent to the client with the error. */
  readonly details?: unknown;
  /** HTTP status, 400 to 599, to replace the default of the code. */
  readonly status?: number;
  /** The id under which the server logged the cause. */
  readonly errorId?: string | undefined;
  /** Never sent over the network; for the log. */
  readonly cause?: unknown;
}

const BRAND = Symbol.for('convoy.error');

/** An error meant for the caller: thrown in a function, it reaches the client with code, message and details. */
export class ConvoyError extends Error {
  /**
   * Distinguishes this error in logs; programs use `isConvoyError`, which also recognises other copies of the package.
   */
  override readonly name = 'ConvoyError';
  /** The kind of the error. */
  readonly code: ConvoyErrorCode;
  /** The HTTP status of the response: that of the code, if no other was given. */
  readonly status: number;
  // Declared only, so that printing an error without them does not show `undefined`.
  /** JSON for the program. Absent if there is none. */
  declare readonly details?: unknown;
  /** The id of the log entry with the cause, if the code is `INTERNAL`. */
  declare readonly errorId?: string;

  constructor(code: ConvoyErrorCode, message: string, options: ConvoyErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = options.status ?? statusForCode(code);
    if (options.details !== undefined) this.details = options.details;
    if (options.errorId !== undefined) this.errorId = options.errorId;
    Object.defineProperty(this, BRAND, { value: true });
  }

  /** The payload of this error, so that `JSON.stringify(error)` equals the text that a client receives. */
  toJSON(): ConvoyErrorPayload {
    return errorPayloadFrom(this);
  }
}

/** Creates a `ConvoyError` without `new`. */
export function convoyError(code: ConvoyErrorCode, message: string, options?: ConvoyErrorOptions): ConvoyError {
  return new ConvoyError(code, message, options);
}

/** True for a `ConvoyError` of any copy of this package. */
export function isConvoyError(value: unknown): value is ConvoyError {
  return typeof value === 'object' && value !== null && (value as Record<symbol, unknown>)[BRAND] === true;
}

/** True when `value` is one of the codes. */
export function isConvoyErrorCode(value: unknown): value is ConvoyErrorCode {
  return typeof value === 'string' && Object.hasOwn(STATUS_OF, value);
}

/** The HTTP status of a code. */
export function statusForCode(code: ConvoyErrorCode): number {
  return isConvoyErrorCode(code) ? STATUS_OF[code] : 500;
}

/** The payload that a client receives for `error`: complete for a `ConvoyError`, a generic one for any other error. */
export function errorPayloadFrom(error: unknown): ConvoyErrorPayload {
  if (!isConvoyError(error)) return { code: 'INTERNAL', message: 'Something went wrong on the server.' };
  return {
    code: error.code,
    message: error.message,
    ...(error.details === undefined ? {} : { details: error.details }),
    ...(error.errorId === undefined ? {} : { errorId: error.errorId }),
  };
}

/** The error of a payload, ready to be thrown. An invalid payload (such as the error page of a proxy) is `INTERNAL`. */
export function errorFromPayload(payload: unknown, options: { status?: number } = {}): ConvoyError {
  const fields = (typeof payload === 'object' && payload !== null ? payload : {}) as Record<string, unknown>;
  const code = isConvoyErrorCode(fields.code) ? fields.code : 'INTERNAL';
  const message =
    typeof fields.message === 'string' ? fields.message : 'The server returned an error of unknown shape.';
  return new ConvoyError(code, message, {
    details: fields.details,
    errorId: typeof fields.errorId === 'string' ? fields.errorId : undefined,
    ...options,
  });
}
