import { defineSchema, defineTable } from '@avvos/convoy';
import { z } from 'zod';

export default defineSchema({
  messages: defineTable({
    author: z.string().min(1).max(40),
    body: z.string().min(1).max(280),
    likes: z.number().default(0),
  }),
});
