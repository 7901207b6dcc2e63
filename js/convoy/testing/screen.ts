/** Mounts React components for a test and unmounts them after it. Requires happy-dom. */
import { act, createElement, type FunctionComponent, type ReactNode, StrictMode } from 'react';
import { createRoot } from 'react-dom/client';

declare global {
  var IS_REACT_ACT_ENVIRONMENT: boolean;
}
globalThis.IS_REACT_ACT_ENVIRONMENT = true;

export interface Screen {
  readonly text: () => string;
  render(node: ReactNode): Promise<void>;
  unmount(): Promise<void>;
}

export async function screen(node: ReactNode): Promise<Screen> {
  const element = document.createElement('div');
  const root = createRoot(element);
  await act(async () => root.render(node));
  return {
    text: () => element.textContent ?? '',
    render: (next) => act(async () => root.render(next)),
    unmount: () => act(async () => root.unmount()),
  };
}

/** A component that records the result of its hook at every render. */
export function probe<Props extends object, Result>(use: (props: Props) => Result) {
  const renders: Result[] = [];
  const Probe: FunctionComponent<Props> = (props) => {
    renders.push(use(props));
    return null;
  };
  return {
    renders,
    /** The latest result of the hook. */
    get result(): Result {
      const last = renders.at(-1);
      if (last === undefined) throw new Error('not rendered yet');
      return last;
    },
    with: (props: Props): ReactNode => createElement(Probe, props),
    inStrictMode: (props: Props): ReactNode => createElement(StrictMode, null, createElement(Probe, props)),
  };
}
