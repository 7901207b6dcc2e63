/** Storage that outlives the page, such as IndexedDB. All values are text. */
export interface AsyncStore {
  /** All keys that start with `prefix`. */
  keys(prefix: string): Promise<string[]>;
  /** The value of a key, or `null`. */
  get(key: string): Promise<string | null>;
  /** Stores a value. When it resolves, the value survives the page. */
  set(key: string, value: string): Promise<void>;
  /** Removes a key, if it exists. */
  delete(key: string): Promise<void>;
}

/** A store in the browser's IndexedDB, in a database of this name. It is opened when it is first used. */
export function indexedDbStore(name = 'convoy'): AsyncStore {
  let opened: Promise<IDBDatabase> | null = null;
  const open = (): Promise<IDBDatabase> => {
    opened ??= openDatabase(name, () => {
      opened = null;
    }).catch((error) => {
      opened = null;
      throw error;
    });
    return opened;
  };
  const run = async <T>(mode: IDBTransactionMode, act: (values: IDBObjectStore) => IDBRequest<T>): Promise<T> => {
    const transaction = (await open()).transaction(VALUES, mode);
    const request = act(transaction.objectStore(VALUES));
    return new Promise((resolve, reject) => {
      // Not the request's success: only then is the write durable.
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  };
  return {
    keys: async (prefix) =>
      (await run('readonly', (values) => values.getAllKeys(IDBKeyRange.bound(prefix, `${prefix}\uffff`)))) as string[],
    get: async (key) => ((await run('readonly', (values) => values.get(key))) as string | undefined) ?? null,
    set: async (key, value) => void (await run('readwrite', (values) => values.put(value, key))),
    delete: (key) => run('readwrite', (values) => values.delete(key)),
  };
}

/** The name of the object store, of text by text. */
const VALUES = 'values';

function openDatabase(name: string, onClose: () => void): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(VALUES);
    request.onerror = () => reject(request.error);
    request.onsuccess = () => {
      const database = request.result;
      database.onclose = onClose;
      // Another page deletes the database, or a newer version of the package changes it.
      database.onversionchange = () => {
        database.close();
        onClose();
      };
      resolve(database);
    };
  });
}
