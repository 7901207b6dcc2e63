import { defineRef, defineSchema, defineTable } from '@avvos/convoy';
import { betterAuthTables } from '@avvos/convoy-auth/better-auth-adapter';
import { z } from 'zod';
import { authOptions } from './auth';

export default defineSchema({
  ...betterAuthTables(authOptions),

  notes: defineTable({
    author: defineRef('user'),
    text: z.string().min(1).max(500),
  }).index('by_author', ['author']),
});
