// Stops what the benchmark has started: servers, proxies, the database.

export class Resources {
  #started = [];

  /** Waits until a resource has started, and registers it for `stopAll`. */
  async add(starting) {
    const resource = await starting;
    this.#started.push(resource);
    return resource;
  }

  /** Stops all in reverse order of their start. */
  async stopAll({ except } = {}) {
    for (const resource of this.#started.splice(0).reverse()) {
      if (resource === except) this.#started.push(resource);
      else await resource.stop();
    }
  }
}
