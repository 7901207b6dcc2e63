/** The server's side of the page of `convoy dev`: passes requests from the engine to a handler, and its answers back. */
import type { NativeEngine } from './native.js';

/** A request to `/_convoy`. The engine has checked that it comes from this machine, and from no other page. */
export interface DevRequest {
  readonly method: string;
  /** The path after `/_convoy`, with the query. */
  readonly path: string;
  readonly authorization: string | null;
  readonly body: string;
}

export interface DevAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

/** The state of the engine that the page shows. */
export interface DevView {
  /** The lines that this process has printed after the first `seen`, as far as they are kept, and their number. */
  recentLines(seen: number): { readonly lines: readonly string[]; readonly total: number };
  /** The live queries. */
  liveOverview(): unknown;
}

/** Serves the page. `answer` must not reject. */
export function serveDevPage(
  engine: NativeEngine,
  answer: (request: DevRequest, view: DevView) => Promise<DevAnswer>,
): void {
  const view: DevView = {
    recentLines: (seen) => JSON.parse(engine.recentLines(seen)) as ReturnType<DevView['recentLines']>,
    liveOverview: () => JSON.parse(engine.liveOverview()) as unknown,
  };
  engine.serveDevPage((id, method, path, authorization, body) => {
    void answer({ method, path, authorization, body }, view).then(({ status, contentType, body: text }) =>
      engine.answerDevRequest(id, status, contentType, text),
    );
  });
}
