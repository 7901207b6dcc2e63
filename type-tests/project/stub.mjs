/** Takes the place of the package and of the generated files: the same names, with everything typed as `any`. */

const PACKAGE = `type Definition = {
  readonly input?: unknown;
  readonly returns?: unknown;
  readonly handler: (ctx: any, args: any) => unknown;
};
export declare function define(definition: Definition): any;
export declare function defineRef(table: string): any;
export declare function defineSchema(tables: object): any;
export declare function defineTable(shape: unknown): any;
export declare const paginationOpts: any;
export declare const skipToken: any;
export declare function useQuery(ref: any, args?: any): any;
export declare function usePaginatedQuery(ref: any, args: any, options: any): any;
export declare function useMutation(ref: any): any;
export declare function useAction(ref: any): any;
export type ResultOfRef<Ref> = any;
`;

const SERVER = `import { define } from '@avvos/convoy';
export { define as action, define as internalQuery, define as mutation, define as query };
`;

/** The files: path → text. */
export function stubFiles() {
  return new Map([
    ['stub/convoy.ts', PACKAGE],
    ['convoy/_generated/server.ts', SERVER],
    ['convoy/_generated/api.ts', 'export declare const api: any;\nexport declare const internal: any;\n'],
    [
      'convoy/_generated/dataModel.ts',
      'export type Doc<Table extends string> = any;\nexport type Id<Table extends string> = string;\n',
    ],
  ]);
}
