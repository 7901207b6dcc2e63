/** A transport whose server is the test itself: it records requests, and the test sends the results. */
import type {
  CallRequest,
  SubscribeRequest,
  Subscription,
  SubscriptionSink,
  Transport,
} from '../src/client/transport.js';

export interface HandSubscription extends SubscribeRequest {
  readonly sink: SubscriptionSink;
  refreshes: number;
  closed: boolean;
}

export class HandTransport implements Transport {
  readonly subscriptions: HandSubscription[] = [];
  readonly calls: CallRequest[] = [];
  answer: (request: CallRequest) => unknown = () => null;

  async call(request: CallRequest): Promise<unknown> {
    this.calls.push(request);
    return this.answer(request);
  }

  subscribe(request: SubscribeRequest, sink: SubscriptionSink): Subscription {
    const subscription: HandSubscription = { ...request, sink, refreshes: 0, closed: false };
    this.subscriptions.push(subscription);
    return {
      refresh: () => {
        subscription.refreshes += 1;
      },
      close: () => {
        subscription.closed = true;
      },
    };
  }

  close(): void {
    for (const subscription of this.subscriptions) subscription.closed = true;
  }

  /** The latest open subscription with these arguments. */
  open(args: unknown): HandSubscription {
    const found = this.subscriptions.findLast((one) => !one.closed && one.args === JSON.stringify(args));
    if (!found) throw new Error(`there is no subscription with ${JSON.stringify(args)}`);
    return found;
  }
}
