/**
 * The bundler. The package `esbuild` has an install script, which package managers refuse to run, or report as an error.
 * Its JavaScript works without it, so the build copies that file into `vendor/`, and the binaries, whose packages have
 * no scripts, are optional dependencies of this package.
 */
import { createRequire } from 'node:module';

// Not a static import: bundled, the file could not find its binary.
export const { build, context, formatMessagesSync } = createRequire(import.meta.url)(
  '#esbuild',
) as typeof import('esbuild');
