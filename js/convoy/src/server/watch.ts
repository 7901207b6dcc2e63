/** A live query of this process as an async iterator. */

import { rethrowAsConvoyError, unwrapEnvelope } from './engine-errors.js';
import type { NativeEngine } from './native.js';

/** The results of a query. Throws its error, unless that passes by itself; ends when the engine closes. */
export async function* watchQuery(
  engine: Pick<NativeEngine, 'watch'>,
  name: string,
  input: string,
  request: string | null,
): AsyncIterableIterator<unknown> {
  const watch = await rethrowAsConvoyError(engine.watch(name, input, request));
  try {
    for (;;) {
      const envelope = await rethrowAsConvoyError(watch.next());
      if (envelope === null) return;
      yield unwrapEnvelope(envelope);
    }
  } finally {
    watch.close();
    // Frees the subscription now and not with the next garbage collection.
    await watch.next();
  }
}
