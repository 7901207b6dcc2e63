/**
 * The one error people meet: a code from a closed list, a sentence for the developer, and details for the program.
 *
 * A `ConvoyError` reaches the caller whole, on whichever side of the network it was thrown; every other error stays
 * on the server. Two copies of this package recognise each other's errors, because the brand is a registered symbol.
 */

const STATUS_OF = {
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

/** What went wrong, from a closed list a program can switch over. */
export type ConvoyErrorCode = keyof typeof STATUS_OF;

/** An error as it travels: the `error` of an answer or a frame. */
export interface ConvoyErrorPayload {
  readonly code: ConvoyErrorCode;
  readonly message: string;
  /** JSON that helps the program, such as `{ issues: [{ path, message }] }`. */
  readonly details?: unknown;
  /** Finds the cause in the server's log when the code is `INTERNAL`. */
  readonly errorId?: string;
}

/** What may be said about an error beside its code and message. */
export interface ConvoyErrorOptions {
  /** JSON sent to the client with the error. */
  readonly details?: unknown;
  /** HTTP status, 400 to 599, where the code's own does not fit. */
  readonly status?: number;
  /** The id under which the server logged the cause. */
  readonly errorId?: string | undefined;
  /** Kept on this side of the network, for the log. */
  readonly cause?: unknown;
}

const BRAND = Symbol.for('convoy.error');

/** An error meant for the caller: thrown in a function, it reaches the client with code, message and details. */
export class ConvoyError extends Error {
  override readonly name = 'ConvoyError';
  readonly code: ConvoyErrorCode;
  readonly status: number;
  // Declared only, so that an error without them does not show them as undefined.
  declare readonly details?: unknown;
  declare readonly errorId?: string;

  constructor(code: ConvoyErrorCode, message: string, options: ConvoyErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = options.status ?? statusForCode(code);
    if (options.details !== undefined) this.details = options.details;
    if (options.errorId !== undefined) this.errorId = options.errorId;
    Object.defineProperty(this, BRAND, { value: true });
  }

  /** The payload of this error, so that `JSON.stringify(error)` says what a client would get. */
  toJSON(): ConvoyErrorPayload {
    return errorPayloadFrom(this);
  }
}

/** Makes a `ConvoyError`, for those who would rather not write `new`. */
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

/** What a client may know of `error`: everything of a `ConvoyError`, of anything else only that something failed. */
export function errorPayloadFrom(error: unknown): ConvoyErrorPayload {
  if (!isConvoyError(error)) return { code: 'INTERNAL', message: 'Something went wrong on the server.' };
  return {
    code: error.code,
    message: error.message,
    ...(error.details === undefined ? {} : { details: error.details }),
    ...(error.errorId === undefined ? {} : { errorId: error.errorId }),
  };
}

/** The error a payload stands for, ready to be thrown. A payload of another shape (a proxy's page, say) is `INTERNAL`. */
export function errorFromPayload(payload: unknown, options: { status?: number } = {}): ConvoyError {
  const said = (typeof payload === 'object' && payload !== null ? payload : {}) as Record<string, unknown>;
  const code = isConvoyErrorCode(said.code) ? said.code : 'INTERNAL';
  const message =
    typeof said.message === 'string' ? said.message : 'The server answered with an error of unknown shape.';
  return new ConvoyError(code, message, {
    details: said.details,
    errorId: typeof said.errorId === 'string' ? said.errorId : undefined,
    ...options,
  });
}
