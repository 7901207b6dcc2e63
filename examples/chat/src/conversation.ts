/** Groups a flat list of messages by day, and within a day into turns: consecutive messages of one author. */
import type { ResultOfRef } from '@avvos/convoy/client';
import type { api } from '../convoy/_generated/api';

export type Message = ResultOfRef<typeof api.messages.list>[number];

export interface Turn {
  readonly author: string;
  readonly messages: readonly [Message, ...Message[]];
}

export interface Day {
  /** Midnight, local time. */
  readonly date: Date;
  readonly turns: readonly Turn[];
}

/** A pause longer than this starts a new turn. */
const PAUSE_MS = 5 * 60 * 1000;

/** Groups `messages`, oldest first, into days and turns. */
export function conversationOf(messages: readonly Message[]): Day[] {
  const days: { date: Date; turns: { author: string; messages: [Message, ...Message[]] }[] }[] = [];
  let previous: Message | undefined;
  for (const message of messages) {
    const date = new Date(message._creationTime);
    date.setHours(0, 0, 0, 0);
    let day = days.at(-1);
    if (day?.date.getTime() !== date.getTime()) {
      day = { date, turns: [] };
      days.push(day);
      previous = undefined;
    }
    const turn = day?.turns.at(-1);
    const continuesTurn =
      previous?.author === message.author && message._creationTime - previous._creationTime < PAUSE_MS;
    if (turn && continuesTurn) turn.messages.push(message);
    else day?.turns.push({ author: message.author, messages: [message] });
    previous = message;
  }
  return days;
}

const DAY = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });
const TIME = new Intl.DateTimeFormat(undefined, { hour: 'numeric', minute: '2-digit' });

export function dayName(date: Date, today: Date): string {
  const midnight = new Date(today).setHours(0, 0, 0, 0);
  const daysAgo = Math.round((midnight - date.getTime()) / 86_400_000);
  if (daysAgo === 0) return 'Today';
  return daysAgo === 1 ? 'Yesterday' : DAY.format(date);
}

export function timeOf(message: Message): string {
  return TIME.format(message._creationTime);
}
