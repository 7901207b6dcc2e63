// The contestants for live queries, with their requests.
import { TOPICS_SCHEMA } from './posts.mjs';

const args = (value) => encodeURIComponent(JSON.stringify(value));

/** The body of a write, before and after its marker. */
const write = (channel) => [`{"channel":"${channel}","body":"`, '","n":1}'];

/**
 * `stream`: the request that opens a stream of the newest posts of a channel. `write`: the
 * parts of the body of a write to it, around its marker.
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

/** A lower bound without database, functions and queries: the same bytes to as many streams. */
export const FLOOR = {
  title: 'the floor: hyper alone',
  stream: () => ({ path: '/' }),
  writePath: '/write',
  write: () => ['', ''],
};

/** The request for a Convoy live session with several queries. */
export function session(queries) {
  return {
    path: '/api/live',
    body: JSON.stringify({ protocol: 1, queries: queries.map((query, id) => ({ id, ...query })) }),
    queries: queries.length,
  };
}
