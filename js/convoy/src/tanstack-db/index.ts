/**
 * `@avvos/convoy/tanstack-db`: collections of TanStack DB whose rows are the results of live queries.
 *
 * @packageDocumentation
 */
export {
  type ConvoyCollectionConfig,
  type ConvoyCollectionOptions,
  type ConvoyCollectionUtils,
  convoyCollectionOptions,
  type RowOf,
} from './options.js';
export { tempId } from './temp-id.js';
