// Who keeps screens current, and how each is asked for it.
import { TOPICS_SCHEMA } from './posts.mjs';

const args = (value) => encodeURIComponent(JSON.stringify(value));

/** What a write says around its marker. */
const write = (channel) => [`{"channel":"${channel}","body":"`, '","n":1}'];

/**
 * `stream`: what opens a stream of the newest posts of a channel. `write`: the
 * texts around what a write to it says.
 */
export const CONVOY = {
  title: 'Convoy',
  server: 'convoy',
  schema: 'public',
  stream: (channel) => ({ path: `/api/subscribe?name=posts.newest&args=${args({ channel })}` }),
  writePath: '/api/mutation/posts.write',
  write,
};

export const TOPICS = {
  title: 'by hand: node:http + pg, LISTEN, a topic per channel',
  server: 'topics',
  schema: TOPICS_SCHEMA,
  stream: (channel) => ({ path: `/newest?channel=${encodeURIComponent(channel)}` }),
  writePath: '/write',
  write,
};

/** No database, no functions, no queries: the same bytes to as many streams. */
export const FLOOR = {
  title: 'the floor: hyper and nothing else',
  stream: () => ({ path: '/' }),
  writePath: '/write',
  write: () => ['', ''],
};

/** A session of several live queries of Convoy's. */
export function session(queries) {
  return {
    path: '/api/live',
    body: JSON.stringify({ protocol: 1, queries: queries.map((query, id) => ({ id, ...query })) }),
    queries: queries.length,
  };
}
