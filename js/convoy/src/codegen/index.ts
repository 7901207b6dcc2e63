/** Turns a schema and a list of functions into the files of `convoy/_generated/`. */
export { arrangeFunctions, type FunctionFolder, FunctionLeaf, NameCollision } from './function-tree.js';
export { generateFiles } from './generate-files.js';
export { functionsText } from './http-file.js';
export { asImport, isFunctionFile, segmentsOf } from './names.js';
export type { GeneratedFiles, Project, ProjectFunction, ProjectTable } from './project.js';
export { outdatedFiles, writeGenerated } from './write.js';
