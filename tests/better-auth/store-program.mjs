/**
 * A program whose action carries out the operations that Better Auth's own suites ask for, on the documents of the action.
 * The suites run on the thread of the tests, and their options have functions; so the tables are in the address of this
 * module, and operations come by a channel.
 */
import { BroadcastChannel } from 'node:worker_threads';
import { action, defineSchema } from '@avvos/convoy';
import { z } from 'zod';
import { TokenSeal } from '../../js/convoy-auth/dist/better-auth-adapter/session-tokens.js';
import { createStore } from '../../js/convoy-auth/dist/better-auth-adapter/store.js';
import { tablesOf } from '../../js/convoy-auth/dist/better-auth-adapter/tables.js';

const layout = new Map(JSON.parse(new URL(import.meta.url).searchParams.get('layout')));

export const schema = defineSchema(tablesOf(layout));

const serve = action({
  input: { channel: z.string() },
  handler: async (ctx, { channel }) => {
    const port = new BroadcastChannel(channel);
    const seal = new TokenSeal({});
    const storeOf = (db, idForm) => createStore(db, { layout, idForm, seal });
    const transactions = new Map();
    const run = {
      call: ({ transaction, idForm, method, args }) =>
        storeOf(transaction === null ? ctx.db : transactions.get(transaction).db, idForm)[method](args),
      begin: ({ transaction }) =>
        new Promise((begun, failed) => {
          const ended = ctx.db.transaction(
            (db) =>
              new Promise((commit, rollBack) => {
                transactions.set(transaction, { db, commit, rollBack });
                begun();
              }),
          );
          ended.catch(failed);
          void Promise.resolve().then(() => {
            transactions.get(transaction).ended = ended;
          });
        }),
      commit: async ({ transaction }) => {
        const { commit, ended } = transactions.get(transaction);
        commit();
        await ended;
      },
      rollBack: async ({ transaction }) => {
        const { rollBack, ended } = transactions.get(transaction);
        rollBack(new Error('rolled back by the test'));
        await ended.catch(() => {});
      },
    };
    await new Promise((close) => {
      port.onmessage = async ({ data: { id, op, ...input } }) => {
        if (op === undefined) return;
        if (op === 'close') return close();
        try {
          port.postMessage({ id, result: await run[op](input) });
        } catch (error) {
          port.postMessage({ id, error: { message: error.message, stack: error.stack, code: error.code } });
        }
      };
      port.postMessage({ id: 0, result: null });
    });
    port.close();
  },
});

export const functions = { serve };
