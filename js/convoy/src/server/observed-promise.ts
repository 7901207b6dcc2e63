/** A promise that knows whether anyone has asked how it ended. */

/**
 * Follows a write. One that fails while nobody looks is a write lost, and the call it belongs to must fail with it.
 * `await` looks: it goes through `then` for every promise that is not plainly a `Promise`.
 */
export class ObservedPromise<T> extends Promise<T> {
  seen = false;
  /** What it failed with; `undefined` while it has not. */
  why: unknown;

  /** Follows `work`. Its failure never ends the process, whether someone looks or not. */
  static of<T>(work: Promise<T>): ObservedPromise<T> {
    const watched = new ObservedPromise<T>((resolve, reject) => {
      work.then(resolve, reject);
    });
    // Not through our own `then`, which would count as someone asking.
    Promise.prototype.then.call(watched, undefined, ignore);
    return watched;
  }

  /** What is chained to a watched promise is an ordinary one. */
  static override get [Symbol.species](): PromiseConstructor {
    return Promise;
  }

  // biome-ignore lint/suspicious/noThenProperty: overriding it is how this promise learns that it was seen.
  override then<A = T, B = never>(
    fulfilled?: ((value: T) => A | PromiseLike<A>) | null,
    rejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.seen = true;
    return super.then(fulfilled, rejected);
  }
}

/** A promise that failed with `error`, and may go unawaited. */
export function failed(error: unknown): Promise<never> {
  const promise = Promise.reject(error);
  promise.catch(ignore);
  return promise;
}

/** The handler that keeps a failure nobody awaits from ending the process; whoever awaits it is still told. */
export function ignore(): void {}
