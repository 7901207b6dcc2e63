/** The data of the side bar: channels, and the people present. */
import type { ResultOfRef } from '@avvos/convoy/client';
import type { api } from '../convoy/_generated/api';

type Lobby = ResultOfRef<typeof api.channels.lobby>;
export type Channel = Lobby['channels'][number];
export type Person = Lobby['people'][number];

/** How recent the last heartbeat of a present person is: allows for two missed ones, and some delay. */
const HERE_MS = 30_000;

/**
 * The people with a recent heartbeat, by name, each once. Times are compared with the latest heartbeat of all people,
 * not with the local clock, so clocks of two machines are never compared. That heartbeat is at most a few seconds old
 * while this tab's own arrive.
 */
export function peopleHere(people: readonly Person[]): Person[] {
  const latest = Math.max(...people.map(({ seenAt }) => seenAt));
  const here = new Map<string, Person>();
  for (const person of people) {
    const other = here.get(person.name);
    if (latest - person.seenAt <= HERE_MS && (!other || other.seenAt < person.seenAt)) here.set(person.name, person);
  }
  return [...here.values()].sort((a, b) => a.name.localeCompare(b.name));
}
