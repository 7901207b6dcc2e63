/** Watches a query and lets a test wait for a snapshot instead of sleeping. */
import type { ConvoyClient } from '../src/client/client.js';
import type { QuerySnapshot } from '../src/client/snapshot.js';
import type { AnyQueryRef, ArgsOfRef, ResultOfRef } from '../src/protocol/refs.js';

export interface Watching<Data> {
  /** All snapshots that the listener received, in order. */
  readonly seen: QuerySnapshot<Data>[];
  /** The first snapshot that `matches` accepts, received or to come, after those returned by earlier calls. */
  until(matches: (snapshot: QuerySnapshot<Data>) => boolean): Promise<QuerySnapshot<Data>>;
  stop(): void;
}

export function watching<Ref extends AnyQueryRef>(
  client: ConvoyClient,
  ref: Ref,
  args: ArgsOfRef<Ref>,
): Watching<ResultOfRef<Ref>> {
  const seen: QuerySnapshot<ResultOfRef<Ref>>[] = [];
  let checked = 0;
  let onChange = () => {};
  const stop = client.watch(ref, args, (snapshot) => {
    seen.push(snapshot);
    onChange();
  });
  return {
    seen,
    stop,
    async until(matches) {
      for (;;) {
        for (; checked < seen.length; checked += 1) {
          const snapshot = seen[checked];
          if (snapshot && matches(snapshot)) {
            checked += 1;
            return snapshot;
          }
        }
        await new Promise<void>((resolve) => {
          onChange = resolve;
        });
      }
    },
  };
}
