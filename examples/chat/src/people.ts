/** What the side bar knows: channels, and who of those seen is still here. */
import type { ResultOfRef } from '@avvos/convoy/client';
import type { api } from '../convoy/_generated/api';

type Lobby = ResultOfRef<typeof api.channels.lobby>;
export type Channel = Lobby['channels'][number];
export type Person = Lobby['people'][number];

/** Two heartbeats missed, and some patience. */
const HERE_MS = 30_000;

/**
 * Those heard of lately, by name, each once. Measured against the latest heartbeat of all, which is at most a few
 * seconds old as long as one's own arrive; so no clocks of two machines are ever compared.
 */
export function peopleHere(people: readonly Person[]): Person[] {
  const latest = Math.max(...people.map(({ seenAt }) => seenAt));
  const here = new Map<string, Person>();
  for (const person of people) {
    const known = here.get(person.name);
    if (latest - person.seenAt <= HERE_MS && (!known || known.seenAt < person.seenAt)) here.set(person.name, person);
  }
  return [...here.values()].sort((a, b) => a.name.localeCompare(b.name));
}
