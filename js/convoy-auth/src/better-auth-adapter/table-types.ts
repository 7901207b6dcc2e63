export type BetterAuthTables<_Options> = Record<string, import('@avvos/convoy').TableDefinition>;
