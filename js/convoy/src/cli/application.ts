/** What `package.json` says about the application, for its OpenAPI document. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { EngineOptions, OpenApiOptions } from '../server/options.js';

/** The name and the version of the application in this folder. */
export async function applicationIn(root: string): Promise<{ readonly name: string; readonly version: string }> {
  const file = path.join(root, 'package.json');
  const { name, version } = existsSync(file) ? JSON.parse(await readFile(file, 'utf8')) : {};
  return {
    name: typeof name === 'string' && name !== '' ? name : path.basename(root),
    version: typeof version === 'string' && version !== '' ? version : '0.0.0',
  };
}

/** The setting `openapi`, completed by `package.json` where the document is served. */
export async function openApiOf(
  setting: EngineOptions['openapi'],
  { root, dev }: { readonly root: string; readonly dev: boolean },
): Promise<{ readonly openapi: false | OpenApiOptions }> {
  const served = setting ?? dev;
  if (served === false) return { openapi: false };
  const application = await applicationIn(root);
  const { title = application.name, version = application.version, servers } = served === true ? {} : served;
  return { openapi: { title, version, ...(servers === undefined ? {} : { servers }) } };
}
