/** The inputs that `convoy check --live` runs queries with. */
import { readFile } from 'node:fs/promises';
import type { LiveOverview } from './overview.js';

/** The inputs of each query, by its name. */
export type QueryInputs = ReadonlyMap<string, readonly unknown[]>;

/** Parses a file with a list of inputs for each query: `{ "messages.list": [{ "room": "hall" }] }`. */
export async function inputsOfFile(file: string): Promise<QueryInputs> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new Error(`The inputs cannot be read: ${error instanceof Error ? error.message : String(error)}.`);
  });
  return parseInputs(text, file);
}

/** The same from text; `source` names it in errors. */
export function parseInputs(text: string, source: string): QueryInputs {
  const form = 'Write a list of inputs for each query, such as { "messages.list": [{ "room": "hall" }] }.';
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new Error(`${source} is not JSON: ${error instanceof Error ? error.message : String(error)}. ${form}`);
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new Error(`${source} is no object. ${form}`);
  }
  const entries = Object.entries(parsed).map(([name, inputs]: [string, unknown]) => {
    if (!Array.isArray(inputs)) throw new Error(`In ${source}, ${name} has no list. ${form}`);
    return [name.replace(/^api\./, ''), inputs as readonly unknown[]] as const;
  });
  return new Map(entries);
}

/** The inputs of the live queries of a server. */
export function inputsOfServer({ queries }: LiveOverview): QueryInputs {
  const inputs = new Map<string, unknown[]>();
  for (const { function: name, args } of queries) {
    if (args === null) continue;
    inputs.set(name, [...(inputs.get(name) ?? []), args]);
  }
  return inputs;
}

/** The inputs to run a query with, each once: those of the file and of the server, or none where it has none. */
export function inputsOf(name: string, sources: readonly QueryInputs[]): readonly unknown[] {
  const given = sources.flatMap((source) => source.get(name) ?? []);
  const distinct = new Map(given.map((input) => [JSON.stringify(input), input]));
  return distinct.size === 0 ? [{}] : [...distinct.values()];
}
