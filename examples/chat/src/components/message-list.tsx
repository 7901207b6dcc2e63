/** The messages of a channel, scrolled to the newest one unless the user has scrolled back. */
import { useLayoutEffect, useRef, useState } from 'react';
import { conversationOf, type Day, dayName, type Message, type Turn, timeOf } from '../conversation';
import type { Me } from '../identity';
import type { Channel } from '../people';
import { Mark } from './mark';
import { colourOf, Monogram } from './monogram';
import { Notice } from './notice';

interface Props {
  readonly channel: Channel;
  /** `null` until they are loaded. */
  readonly messages: readonly Message[] | null;
  readonly me: Me;
}

export function MessageList({ channel, messages, me }: Props) {
  const newest = messages?.at(-1);
  const { list, isBehind, toNewest, onScroll } = useNewestInSight(newest?.id, newest?.author === me.name);
  return (
    <div className="messages-frame">
      <div
        ref={list}
        className="messages"
        role="log"
        aria-label={`Messages in ${channel.name}`}
        aria-busy={messages === null}
        data-testid="messages"
        onScroll={onScroll}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: the keyboard can scroll only what it can focus.
        tabIndex={0}
      >
        {messages === null && <Skeleton />}
        {messages?.length === 0 && (
          <Notice title={`Nothing in #${channel.name} yet`} picture={<Mark />}>
            <p>Say the first word. Whoever has this channel open sees it at once.</p>
          </Notice>
        )}
        {conversationOf(messages ?? []).map((day) => (
          <DayOf key={day.date.getTime()} day={day} me={me} />
        ))}
      </div>
      {isBehind && (
        <button type="button" className="to-newest" onClick={toNewest}>
          New messages <span aria-hidden="true">↓</span>
        </button>
      )}
    </div>
  );
}

function DayOf({ day, me }: { readonly day: Day; readonly me: Me }) {
  const name = dayName(day.date, new Date());
  return (
    <section aria-label={name}>
      <h2 className="day">
        <span>{name}</span>
      </h2>
      {day.turns.map((turn) => (
        <TurnOf key={turn.messages[0].id} turn={turn} isMine={turn.author === me.name} />
      ))}
    </section>
  );
}

function TurnOf({ turn, isMine }: { readonly turn: Turn; readonly isMine: boolean }) {
  const [first] = turn.messages;
  return (
    <article className="turn" data-mine={isMine} style={colourOf(turn.author)}>
      <Monogram name={turn.author} />
      <h3 className="turn-head">
        <span className="turn-author">{isMine ? 'You' : turn.author}</span>
        <time dateTime={new Date(first._creationTime).toISOString()}>{timeOf(first)}</time>
      </h3>
      <ul>
        {turn.messages.map((message) => (
          <li key={message.id} className="message" data-testid="message" title={timeOf(message)}>
            {message.body}
          </li>
        ))}
      </ul>
    </article>
  );
}

function Skeleton() {
  return (
    <div className="skeleton" aria-hidden="true">
      {[52, 68, 36, 60].map((width) => (
        <span key={width} className="skeleton-line" style={{ inlineSize: `${width}%` }} />
      ))}
    </div>
  );
}

/** The distance from the end that still counts as being at the end, in pixels. */
const END_TOLERANCE = 80;

/** Scrolls to the newest message where the user is at the end, or wrote it; otherwise returns `isBehind`. */
function useNewestInSight(newest: string | undefined, isMine: boolean) {
  const list = useRef<HTMLDivElement>(null);
  const isAtEnd = useRef(true);
  const [isBehind, setBehind] = useState(false);

  useLayoutEffect(() => {
    if (newest === undefined) return;
    if (isAtEnd.current || isMine) scrollToEnd(list.current);
    else setBehind(true);
  }, [newest, isMine]);

  useLayoutEffect(() => {
    const element = list.current;
    if (!element) return;
    // Stays at the end when a phone's keyboard, or the growing field below, reduces the height.
    const resized = new ResizeObserver(() => isAtEnd.current && scrollToEnd(element));
    resized.observe(element);
    return () => resized.disconnect();
  }, []);

  const onScroll = () => {
    const element = list.current;
    if (!element) return;
    isAtEnd.current = element.scrollHeight - element.scrollTop - element.clientHeight < END_TOLERANCE;
    if (isAtEnd.current) setBehind(false);
  };
  const toNewest = () => {
    setBehind(false);
    scrollToEnd(list.current, 'smooth');
  };
  return { list, isBehind, toNewest, onScroll };
}

function scrollToEnd(element: HTMLElement | null, behavior: ScrollBehavior = 'instant'): void {
  element?.scrollTo({ top: element.scrollHeight, behavior });
}
