/** The start of every snippet: references as generated code has them. */
export const REFERENCES = `
import { createConvoyClient, paginatedQuery } from '@avvos/convoy/client';
import type { ActionRef, MutationRef, PageResult, PaginationOptions, QueryRef } from '@avvos/convoy/client';
interface Message { id: string; body: string; at: Date }
declare const api: { readonly messages: {
  readonly list: QueryRef<{ channelId: string; limit?: number }, Message[], 'messages.list'>;
  readonly all: QueryRef<Record<never, never>, Message[], 'messages.all'>;
  readonly pages: QueryRef<{ channelId: string; paginationOpts: PaginationOptions }, PageResult<Message>, 'messages.pages'>;
  readonly send: MutationRef<{ channelId: string; body: string }, string, 'messages.send'>;
  readonly notify: ActionRef<{ to: string }, null, 'messages.notify'>;
} };
const client = createConvoyClient();
`;
