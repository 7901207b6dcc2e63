// What both servers take, checked by the same schemas.
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

/** Documents in one answer. */
export const PAGE = 20;
