/** Imported by Node before all other modules, as instrumentation is. */
console.log('prints first');
console.error('prints first');
