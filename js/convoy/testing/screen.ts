/** Mounts React components for a test and takes them down after it. Needs happy-dom. */
import { act, createElement, type FunctionComponent, type ReactNode, StrictMode } from 'react';
import { createRoot } from 'react-dom/client';

declare global {
  var IS_REACT_ACT_ENVIRONMENT: boolean;
}
globalThis.IS_REACT_ACT_ENVIRONMENT = true;

export interface Screen {
  readonly text: () => string;
  show(node: ReactNode): Promise<void>;
  leave(): Promise<void>;
}

export async function screen(node: ReactNode): Promise<Screen> {
  const element = document.createElement('div');
  const root = createRoot(element);
  await act(async () => root.render(node));
  return {
    text: () => element.textContent ?? '',
    show: (next) => act(async () => root.render(next)),
    leave: () => act(async () => root.unmount()),
  };
}

/** A component that keeps what its hook gave at every render. */
export function probe<Props extends object, Given>(use: (props: Props) => Given) {
  const renders: Given[] = [];
  const Probe: FunctionComponent<Props> = (props) => {
    renders.push(use(props));
    return null;
  };
  return {
    renders,
    /** What the hook gave last. */
    get given(): Given {
      const last = renders.at(-1);
      if (last === undefined) throw new Error('not rendered yet');
      return last;
    },
    with: (props: Props): ReactNode => createElement(Probe, props),
    strictly: (props: Props): ReactNode => createElement(StrictMode, null, createElement(Probe, props)),
  };
}
