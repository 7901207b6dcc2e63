/** The state of a client and its events, as long as the component is mounted. */
import { useEffect, useReducer, useRef } from 'react';
import type { Connection } from '../../client/connection.js';
import type { ClientParts } from '../../client/inspection.js';
import type { LiveConnection } from '../../client/live-connection.js';
import { EventLog } from './event-log.js';
import { connectionOf, type Inspected, inspect, keyOf } from './inspect.js';

export interface Inspection extends Inspected {
  readonly log: EventLog;
  /** Renders again. */
  readonly refresh: () => void;
}

export function useInspection(parts: ClientParts): Inspection {
  const [, refresh] = useReducer((count: number) => count + 1, 0);
  const log = useRef<EventLog>(null);
  log.current ??= new EventLog();
  useEffect(() => {
    const events = log.current as EventLog;
    const stop = record(parts, events, refresh);
    refresh();
    return stop;
  }, [parts]);
  return { ...inspect(parts), log: log.current, refresh };
}

/** Records what the client receives, and calls `onChange` after each change, at most once per task. */
export function record({ transport, live }: ClientParts, log: EventLog, onChange: () => void): () => void {
  const connection = connectionOf(transport);
  let scheduled: ReturnType<typeof setTimeout> | undefined;
  const schedule = () => {
    scheduled ??= setTimeout(() => {
      scheduled = undefined;
      onChange();
    });
  };
  let described = describe(connection);
  live.onChange = () => {
    const now = describe(connection);
    if (now !== described) log.addConnection(now, Date.now());
    described = now;
    schedule();
  };
  if (connection !== null) {
    connection.onFrame = (messages) => {
      const keys = new Map(Array.from(connection.inspected.queries, (query) => [query.id, keyOf(query)]));
      log.addFrame(messages, Date.now(), (id) => keys.get(id));
      schedule();
    };
  }
  return () => {
    clearTimeout(scheduled);
    live.onChange = undefined;
    if (connection !== null) connection.onFrame = undefined;
  };
}

/** The phases of a connection as events. */
const PHASES: Readonly<Record<Connection['phase'], string>> = {
  idle: 'closed, because no query is in use',
  connecting: 'connects',
  open: 'open',
  waiting: 'lost; the client waits before it connects again',
  refused: 'refused by the server; the client does not connect by itself',
  paused: 'closed, because the page is hidden',
  closed: 'closed by the application',
};

function describe(connection: LiveConnection | null): string {
  return connection === null ? '' : `${PHASES[connection.inspected.phase]} (${connection.linkKind})`;
}
