/** Things that arrive and are waited for, in either order. */
export class Arrivals<Thing> {
  readonly #arrived: Thing[] = [];
  readonly #waiting: ((thing: Thing) => void)[] = [];

  add(thing: Thing): void {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(thing);
    else this.#arrived.push(thing);
  }

  /** The next one, arrived already or to come. */
  next(): Promise<Thing> {
    const arrived = this.#arrived.shift();
    return arrived === undefined ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve(arrived);
  }
}
