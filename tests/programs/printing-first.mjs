/** Imported by Node before anything else, as instrumentation is. */
console.log('prints first');
console.error('prints first');
