// The input schemas of all servers, and shared constants.
import { defineRef } from '@avvos/convoy';
import { z } from 'zod';

export const echoInput = z.object({
  name: z.string().min(1).max(64),
  count: z.number().int().nonnegative(),
  tags: z.array(z.string()).max(16),
});

export const channelInput = z.object({ channel: z.string().min(1).max(64) });

export const messageInput = z.object({
  channel: z.string().min(1).max(64),
  author: z.string().min(1).max(64),
  text: z.string().min(1).max(2000),
});

export const messagesInput = z.object({ messages: z.array(messageInput).max(1000) });

export const idInput = z.object({ id: defineRef('messages') });

export const idsInput = z.object({ ids: z.array(defineRef('messages')).max(100) });

export const transferInput = z.object({
  from: defineRef('accounts'),
  to: defineRef('accounts'),
  amount: z.number().positive(),
});

export const postInput = z.object({
  channel: z.string().min(1).max(64),
  body: z.string().min(1).max(2000),
  n: z.number().int(),
});

export const editInput = z.object({ id: defineRef('posts'), body: z.string().min(1).max(2000) });

/** The number of documents in a response. */
export const PAGE = 20;

/** The number of connections of a server for one kind of call. */
export const POOL = 8;
