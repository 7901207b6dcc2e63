import { api } from '../convoy/_generated/api';
import { convoy } from '../convoy/convoy';
import { Chat } from './chat';

/** Rendered for each request, and not in `next build`, which has no database. */
export const dynamic = 'force-dynamic';

export default async function Page() {
  const messages = await (await convoy()).query(api.messages.list, {});
  return <Chat rendered={messages} />;
}
