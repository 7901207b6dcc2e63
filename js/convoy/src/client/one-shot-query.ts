/**
 * A subscription that asks once and never again by itself: what a query that is not live stands on. `refresh` asks
 * again; of several answers under way only the last question's counts.
 */
import { errorFromPayload, isConvoyError } from '../values/errors.js';
import { share } from './structural-sharing.js';
import type { SubscribeRequest, Subscription, SubscriptionSink, Transport } from './transport.js';

export function askOnce(transport: Transport, request: SubscribeRequest, sink: SubscriptionSink): Subscription {
  let asked = 0;
  let last: unknown;
  const ask = async () => {
    asked += 1;
    const turn = asked;
    try {
      const data = await transport.call({ kind: 'query', ...request });
      if (turn !== asked) return;
      last = share(last, data);
      sink.result(last);
    } catch (error) {
      if (turn === asked) sink.failed(isConvoyError(error) ? error : errorFromPayload(error));
    }
  };
  void ask();
  return {
    refresh: () => void ask(),
    close: () => {
      asked += 1;
    },
  };
}
