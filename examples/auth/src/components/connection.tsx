/** Shows whether the page is live at the moment. */
import { useConnectionState } from '@avvos/convoy/react';

const LABELS = {
  open: 'Live',
  connecting: 'Connecting…',
  closed: 'Offline',
  disabled: 'Offline',
} as const;

export function Connection() {
  const state = useConnectionState();
  return (
    <p className="connection" role="status" data-testid="connection" data-state={state}>
      <span className="connection-light" aria-hidden="true" />
      {LABELS[state]}
    </p>
  );
}
