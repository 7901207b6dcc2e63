/**
 * Parses the server-sent events of a live session: the data of each event. A library for any event stream is three times
 * as large as this part of the client is allowed to be; names, ids and retry delays of events are not used here.
 */
export class EventStreamParser {
  readonly #maxChars: number;
  readonly #onEvent: (data: string) => void;
  /** The beginning of a line whose end has not arrived. */
  #rest = '';
  /** The data lines of an event whose end has not arrived, each with a line break before it. */
  #data = '';

  /** An event may have `maxChars` characters. */
  constructor(maxChars: number, onEvent: (data: string) => void) {
    this.#maxChars = maxChars;
    this.#onEvent = onEvent;
  }

  /** Parses the next part of the stream. Returns false if an event is too large. */
  feed(text: string): boolean {
    let start = 0;
    for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n', start)) {
      this.#line((this.#rest + text.slice(start, end)).replace(/\r$/, ''));
      this.#rest = '';
      start = end + 1;
    }
    this.#rest += text.slice(start);
    return this.#rest.length + this.#data.length <= this.#maxChars;
  }

  #line(line: string): void {
    const field = /^data(?:: ?|$)/.exec(line);
    if (field !== null) this.#data += `\n${line.slice(field[0].length)}`;
    else if (line === '' && this.#data !== '') {
      const event = this.#data.slice(1);
      this.#data = '';
      this.#onEvent(event);
    }
  }
}
