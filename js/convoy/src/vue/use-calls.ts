/** `useMutation` and `useAction`: functions that call the server. */
import { actionCaller, mutationCaller, type UseAction, type UseMutation } from '../client/component-query.js';
import { useConvoy } from './context.js';

/** A function that calls the mutation `ref`. */
export const useMutation: UseMutation = /* @__PURE__ */ mutationCaller(useConvoy);

/** A function that runs the action `ref`. */
export const useAction: UseAction = /* @__PURE__ */ actionCaller(useConvoy);
