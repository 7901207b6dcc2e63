/** A visitor is a random name in a cookie, which no script can read. An application with accounts has a session there. */

/** The visitor that a header `Cookie` names. */
export function visitorIn(cookie: string | string[] | undefined): string | null {
  return /(?:^|;\s*)visitor=([\w-]+)/.exec(String(cookie))?.[1] ?? null;
}

export const cookieOf = (visitor: string) => `visitor=${visitor}`;
