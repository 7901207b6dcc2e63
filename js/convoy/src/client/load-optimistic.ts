/**
 * The code of optimistic updates, which pages load that have any. Hooks load it when their component is rendered, so that
 * it is there by the first call.
 */
export type OptimisticModule = typeof import('./optimistic-layers.js');

let loaded: OptimisticModule | null = null;

/** The code, if it is loaded. */
export function loadedOptimistic(): OptimisticModule | null {
  return loaded;
}

/** Loads the code. Without it a mutation has no optimistic update, which is logged. */
export async function loadOptimistic(): Promise<OptimisticModule | null> {
  try {
    loaded ??= await import('./optimistic-layers.js');
  } catch (error) {
    console.error('Convoy: optimistic updates could not be loaded, and are not shown.', error);
  }
  return loaded;
}
