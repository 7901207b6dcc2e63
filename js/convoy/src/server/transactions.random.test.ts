/** Random nested transactions over a model engine with savepoints: a write is kept if every enclosing transaction is. */

import { expect, it } from 'vitest';
import * as z from 'zod';
import { type Script, uuid } from '../../testing/scripted-engine.js';
import { defineSchema, defineTable } from '../schema/index.js';
import type { Id } from '../values/ids.js';
import { type CallSettings, caller } from './call.test-kit.js';
import type { DbFromSchema } from './database.js';

const schema = defineSchema({
  held: defineTable({ text: z.string() }),
  sent: defineTable({ text: z.string() }),
});
type Db = DbFromSchema<typeof schema>;

type Step =
  | { readonly insert: 'held' | 'sent'; readonly text: string }
  | { readonly read: true }
  | { readonly steps: readonly Step[]; readonly fails: boolean }
  | { readonly atOnce: readonly Step[] };

/** A seeded pseudo-random number generator. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function program(below: (n: number) => number, depth: number, texts: { next: number }): Step[] {
  return Array.from({ length: below(4) + (depth === 0 ? 1 : 0) }, (): Step => {
    const choice = below(depth > 3 ? 4 : 8);
    if (choice === 0) return { read: true };
    if (choice < 4) return { insert: choice === 1 ? 'sent' : 'held', text: `t${texts.next++}` };
    if (choice < 7) return { steps: program(below, depth + 1, texts), fails: below(2) === 0 };
    return { atOnce: program(below, depth + 1, texts) };
  });
}

/** The texts expected at the end. */
function kept(steps: readonly Step[]): string[] {
  return steps.flatMap((step) => {
    if ('insert' in step) return [step.text];
    if ('steps' in step) return step.fails ? [] : kept(step.steps);
    return 'atOnce' in step ? kept(step.atOnce) : [];
  });
}

async function perform(db: Db, tx: Db, step: Step): Promise<void> {
  if ('insert' in step) await tx.insert(step.insert, { text: step.text });
  else if ('read' in step) await db.get(`sent:${uuid(1)}` as Id<'sent'>);
  else if ('atOnce' in step) await Promise.all(step.atOnce.map((each) => perform(db, tx, each)));
  else {
    await tx
      .transaction(async (inner) => {
        for (const each of step.steps) await perform(db, inner as Db, each);
        if (step.fails) throw new Error('undone');
      })
      .catch((error: Error) => {
        if (error.message !== 'undone') throw error;
      });
  }
}

/** A model of the engine that stores texts, with the savepoints of Postgres. */
function engine(): { readonly texts: () => string[]; readonly script: Script } {
  let texts: string[] = [];
  let savepoints: { readonly name: number | 'begin'; readonly texts: string[] }[] = [];
  const rollbackTo = (name: number | 'begin'): boolean => {
    const index = savepoints.findIndex((savepoint) => savepoint.name === name);
    if (index < 0) return false;
    texts = [...(savepoints[index]?.texts ?? [])];
    savepoints = savepoints.slice(0, index + 1);
    return true;
  };
  const script: Script = (op) => {
    if (op.op === 'insert') texts.push((op.doc as { text: string }).text);
    if (op.op === 'savepoint') savepoints.push({ name: op.name, texts: [...texts] });
    if (op.op === 'begin') savepoints = [{ name: 'begin', texts: [...texts] }];
    if (op.op === 'rollback' && !rollbackTo(op.to ?? 'begin')) {
      return { error: { code: 'INTERNAL', message: `no savepoint ${op.to}` } };
    }
    return { ok: null };
  };
  return { texts: () => texts, script };
}

it.each<[string, CallSettings]>([
  ['in a mutation', { holds: ['held'] }],
  ['in an action', { kind: 'action' }],
])('%s', async (_, settings) => {
  const run = caller(schema);
  for (let seed = 1; seed <= 300; seed++) {
    const steps = program(random(seed), 0, { next: 0 });
    const { texts, script } = engine();
    const { error, held } = await run(
      async (db) => {
        for (const step of steps) await perform(db, db, step);
      },
      { ...settings, script },
    );
    expect(error, `seed ${seed}`).toBeUndefined();
    const last = (held ?? []).map((op) => (op.op === 'insert' ? (op.doc as { text: string }).text : op.op));
    expect([...texts(), ...last].sort(), `seed ${seed}: ${JSON.stringify(steps)}`).toEqual(kept(steps).sort());
  }
});
