/** The warning about an application-made client, which has no live queries. */

export function warnInDevelopment(): void {
  if (isProduction()) return;
  console.warn(
    'Convoy: the client given to the hooks has no live queries, so each query is called once and is not live. ' +
      '`createConvoyClient` creates one that keeps queries current.',
  );
}

function isProduction(): boolean {
  try {
    // Exactly this expression: bundlers replace it with the mode.
    return process.env.NODE_ENV === 'production';
  } catch {
    // Without a bundler, browsers have no `process`.
    return false;
  }
}
