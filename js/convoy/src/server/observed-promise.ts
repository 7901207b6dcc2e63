/** A promise that records whether a handler was attached to it. */

/**
 * The promise of a write. If the write fails and its rejection is not handled, the write is lost, so the call must fail
 * too. `await` counts as a handler: it calls `then` on every promise whose constructor is not `Promise` itself.
 */
export class ObservedPromise<T> extends Promise<T> {
  handled = false;
  /** The rejection reason; `undefined` before the rejection. */
  reason: unknown;

  /** Wraps `work`. An unhandled rejection of the wrapper never ends the process. */
  static of<T>(work: Promise<T>): ObservedPromise<T> {
    const observed = new ObservedPromise<T>((resolve, reject) => {
      work.then(resolve, reject);
    });
    // Bypasses the overridden `then`, which would mark the promise as handled.
    Promise.prototype.then.call(observed, undefined, ignore);
    return observed;
  }

  /** `then` on an observed promise returns an ordinary one. */
  static override get [Symbol.species](): PromiseConstructor {
    return Promise;
  }

  // biome-ignore lint/suspicious/noThenProperty: the override records that a handler was attached.
  override then<A = T, B = never>(
    fulfilled?: ((value: T) => A | PromiseLike<A>) | null,
    rejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.handled = true;
    return super.then(fulfilled, rejected);
  }
}

/** A promise rejected with `error`. Leaving it unhandled does not end the process. */
export function rejected(error: unknown): Promise<never> {
  const promise = Promise.reject(error);
  promise.catch(ignore);
  return promise;
}

/** A no-op rejection handler: the process survives an unhandled rejection, and other handlers still receive it. */
export function ignore(): void {}

/** Whether `value` is a promise of any kind. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';
}
