import { defineSchema, defineTable } from '@avvos/convoy';
import { z } from 'zod';

export default defineSchema({
  tasks: defineTable({ visitor: z.string(), text: z.string().min(1).max(200) }).index('by_visitor', ['visitor']),
});
