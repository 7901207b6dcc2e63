/** Which pages of other origins may call, in the options of the engine and of a route. Types only. */

/** Other origins whose pages may call this server and read its responses. */
export interface CorsOptions {
  /** Each as browsers send it: `https://app.example`, `http://localhost:5173`. Compared exactly; `*` is not supported. */
  readonly origins: readonly string[];
  /** Whether their requests may carry cookies (false). */
  readonly credentials?: boolean;
}
