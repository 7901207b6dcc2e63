/** Runs a handler with `ctx.db` over a scripted engine, without host, and records the operations it sends. */

import { type Script, ScriptedEngine } from '../../testing/scripted-engine.js';
import type { SchemaDefinition } from '../schema/index.js';
import { Call, type Operation } from './call.js';
import { CallDatabase } from './call-database.js';
import type { DbFromSchema } from './database.js';
import type { FunctionKind } from './functions.js';
import { DELIVERY } from './native.js';
import { prepareProgram } from './program.js';

export interface CallSettings {
  readonly kind?: FunctionKind;
  readonly transactional?: boolean;
  readonly script?: Script;
  readonly dev?: boolean;
  /** Tables whose inserts are held. */
  readonly holds?: readonly string[];
}

/** The record of a call. */
export interface CallRecord {
  readonly result: unknown;
  /** The error of the handler, or the reason why the call cannot be committed. */
  readonly error: unknown;
  /** The operations of each batch. */
  readonly batches: Operation[][];
  /** Their names, batch by batch. */
  readonly names: string[][];
  readonly ops: Operation[];
  readonly held: Operation[] | null;
}

/** Runs handlers against the tables of `schema`. */
export function caller<Schema extends SchemaDefinition>(schema: Schema) {
  return async (
    handler: (db: DbFromSchema<Schema>, call: Call) => unknown,
    { kind = 'mutation', transactional = kind !== 'action', script, dev = false, holds = [] }: CallSettings = {},
  ): Promise<CallRecord> => {
    const engine = new ScriptedEngine(script);
    const program = prepareProgram({ schema, functions: {} }, { dev });
    program.holdsWrites = new Set(holds);
    const call = new Call(1, kind, engine, { transactional });
    engine.use({ functions: [], hasContext: false, sync: false }, (delivery, _id, batch, text) => {
      if (delivery === DELIVERY.results) call.resolveBatch(batch, text);
    });
    const db = new CallDatabase(call, program, { functionName: 'things.do' });
    let result: unknown;
    let error: unknown;
    try {
      result = await handler(db as unknown as DbFromSchema<Schema>, call);
      for (let idle = call.whenIdle(); idle !== null; idle = call.whenIdle()) await idle;
    } catch (thrown) {
      error = thrown;
    }
    call.end();
    const held = call.takeHeld();
    const batches = engine.batches.map(({ ops }) => ops);
    return {
      result,
      error,
      batches,
      names: batches.map((ops) => ops.map(nameOf)),
      ops: batches.flat(),
      held: held === null ? null : (JSON.parse(held.json) as Operation[]),
    };
  };
}

/** `savepoint 1`, `rollback to 1`, and for everything else its name. */
function nameOf(operation: Operation): string {
  if (operation.op === 'savepoint') return `savepoint ${operation.name}`;
  if (operation.op === 'rollback' && operation.to !== undefined) return `rollback to ${operation.to}`;
  return operation.op;
}
