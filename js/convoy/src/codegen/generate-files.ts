/** Generates the text of all files in `_generated/`. Pure. */
import { apiFile } from './api-file.js';
import { dataModelFile } from './data-model-file.js';
import { drizzleFile, drizzleFileName } from './drizzle-file.js';
import { httpFile } from './http-file.js';
import type { GeneratedFiles, Project } from './project.js';
import { serverFile } from './server-file.js';

/** The files in the order of their dependencies. Throws an Error when two functions collide. */
export function generateFiles(project: Project): GeneratedFiles {
  return new Map([
    ...(project.drizzleStandIn ? [[drizzleFileName, drizzleFile()] as const] : []),
    ['dataModel.ts', dataModelFile(project)],
    ['server.ts', serverFile(project)],
    ['api.ts', apiFile(project)],
    ['http.ts', httpFile(project)],
  ]);
}
