/** Watches a query and lets a test wait for what it says, so that no test sleeps. */
import type { ConvoyClient } from '../src/client/client.js';
import type { QuerySnapshot } from '../src/client/snapshot.js';
import type { AnyQueryRef, ArgsOfRef, ResultOfRef } from '../src/protocol/refs.js';

export interface Watching<Data> {
  /** Everything the listener was told, in order. */
  readonly seen: QuerySnapshot<Data>[];
  /** The first snapshot, told already or to come, after the ones earlier calls gave, that `wanted` accepts. */
  until(wanted: (snapshot: QuerySnapshot<Data>) => boolean): Promise<QuerySnapshot<Data>>;
  stop(): void;
}

export function watching<Ref extends AnyQueryRef>(
  client: ConvoyClient,
  ref: Ref,
  args: ArgsOfRef<Ref>,
): Watching<ResultOfRef<Ref>> {
  const seen: QuerySnapshot<ResultOfRef<Ref>>[] = [];
  let looked = 0;
  let wake = () => {};
  const stop = client.watch(ref, args, (snapshot) => {
    seen.push(snapshot);
    wake();
  });
  return {
    seen,
    stop,
    async until(wanted) {
      for (;;) {
        for (; looked < seen.length; looked += 1) {
          const snapshot = seen[looked];
          if (snapshot && wanted(snapshot)) {
            looked += 1;
            return snapshot;
          }
        }
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}
