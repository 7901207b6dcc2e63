/** The Web Locks of one browser, for tests without one: each is held until the promise of its callback is resolved. */
export class WebLocks {
  readonly held = new Set<string>();

  readonly request = async (
    name: string,
    _options: unknown,
    callback: (lock: object | null) => Promise<void> | undefined,
  ): Promise<void> => {
    if (this.held.has(name)) return callback(null);
    this.held.add(name);
    await callback({});
    this.held.delete(name);
  };
}
