// What has been started and must be stopped: servers, wires, the database.

export class Parts {
  #started = [];

  /** Waits for a part to start, and notes that it must be stopped. */
  async begin(starting) {
    const part = await starting;
    this.#started.push(part);
    return part;
  }

  /** The last started first. */
  async stopAll({ except } = {}) {
    for (const part of this.#started.splice(0).reverse()) {
      if (part === except) this.#started.push(part);
      else await part.stop();
    }
  }
}
