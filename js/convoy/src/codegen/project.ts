/** The input of the code generator: a project as plain data, with paths as they are imported. */

/** An exported function, as a leaf of `api`. */
export interface ProjectFunction {
  /** `messages.list`: folders, file and export, joined by dots. */
  readonly name: string;
  readonly kind: 'query' | 'mutation' | 'action';
  /** Not callable from the network: a leaf of `internal`, not of `api`. */
  readonly internal: boolean;
  /** `false`: clients must not store its results. */
  readonly persist?: false | undefined;
  /** The module as the generated files import it: `../functions/messages.js`. */
  readonly module: string;
  readonly exportName: string;
}

export interface ProjectTable {
  /** The key in the schema. */
  readonly name: string;
  /** The documents are a union of objects, which an interface cannot extend. */
  readonly isUnion: boolean;
  /** The export of the schema's module that is this table, if there is one. */
  readonly exportName?: string | undefined;
}

export interface Project {
  readonly schema: {
    /** `../schema.js` */
    readonly module: string;
    readonly exportName: 'default' | 'schema';
  };
  readonly tables: readonly ProjectTable[];
  readonly functions: readonly ProjectFunction[];
  /** `convoy/server.ts`, where it exists. */
  readonly serverModule: string | null;
  /** It exports `createContext`. */
  readonly hasContext: boolean;
  /** `convoy/http.ts`, where it exists. */
  readonly routesModule: string | null;
  /** Functions import from `drizzle-orm`, which is not installed. */
  readonly drizzleStandIn: boolean;
}

/** A generated file's name in `_generated/`, and its text. */
export type GeneratedFiles = ReadonlyMap<string, string>;
