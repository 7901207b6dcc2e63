import { defineRef, defineSchema, defineTable } from '@avvos/convoy';
import { z } from 'zod';

export default defineSchema({
  channels: defineTable({
    name: z.string().min(1).max(32),
  }).index('by_name', ['name'], { unique: true }),

  messages: defineTable({
    channelId: defineRef('channels'),
    author: z.string().min(1).max(40),
    body: z.string().min(1).max(2000),
  }).index('by_channel', ['channelId']),

  /** The people who have the chat open: one row per browser tab, updated by its heartbeat. */
  presence: defineTable({
    /** A secret of the tab, so that no other client can change its row. */
    session: z.string().min(8).max(64),
    name: z.string().min(1).max(40),
    channelId: defineRef('channels').optional(),
    /** When the tab sent its last heartbeat, in milliseconds since 1970. */
    seenAt: z.number(),
  })
    .index('by_session', ['session'], { unique: true })
    .index('by_seen', ['seenAt']),
});
