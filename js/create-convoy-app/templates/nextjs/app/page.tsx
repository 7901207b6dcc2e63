import { preloadQuery } from '@avvos/convoy/next';
import { api } from '../convoy/_generated/api';
import { convoy } from '../convoy/convoy';
import { Chat } from './chat';

/** Rendered for each request, because `preloadQuery` runs the query for its caller. */
export default async function Page() {
  return <Chat preloaded={await preloadQuery(api.messages.list, {}, { convoy })} />;
}
