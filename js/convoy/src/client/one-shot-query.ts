/**
 * The subscription of a query that is not live: it calls the query once, and again on `refresh`. Of several calls in
 * flight only the latest one's result counts.
 */
import { errorFromPayload, isConvoyError } from '../values/errors.js';
import { replaceEqualDeep } from './structural-sharing.js';
import type { SubscribeRequest, Subscription, SubscriptionSink, Transport } from './transport.js';

export function oneShotQuery(
  transport: Transport,
  { name, ref, args, initial }: SubscribeRequest,
  sink: SubscriptionSink,
): Subscription {
  let latestCall = 0;
  let lastData = initial?.data;
  const call = async () => {
    latestCall += 1;
    const number = latestCall;
    try {
      const data = await transport.call({ kind: 'query', name, ref, args });
      if (number !== latestCall) return;
      lastData = replaceEqualDeep(lastData, data);
      sink.result(lastData);
    } catch (error) {
      if (number === latestCall) sink.failed(isConvoyError(error) ? error : errorFromPayload(error));
    }
  };
  void call();
  return {
    refresh: () => void call(),
    close: () => {
      latestCall += 1;
    },
  };
}
