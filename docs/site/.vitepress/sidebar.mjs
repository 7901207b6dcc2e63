// The order of the pages. Every page of docs/ is here, or the build fails.
import { repository } from '../repository-links.mjs';

export const sidebar = [
  {
    text: 'Introduction',
    items: [
      { text: 'From nothing to a live screen', link: '/start' },
      { text: 'Installing', link: '/installing' },
    ],
  },
  {
    text: 'Guide',
    items: [
      { text: 'The schema', link: '/schema' },
      { text: 'The database', link: '/database' },
      { text: 'Functions', link: '/functions' },
      { text: 'Access rules', link: '/access' },
      { text: 'Row-level security', link: '/row-level-security' },
      { text: 'Transactions and performance', link: '/transactions' },
      { text: 'Why a query ran', link: '/why' },
      { text: 'React and the client', link: '/react' },
      { text: 'Lists in pages', link: '/lists' },
      { text: 'Server rendering', link: '/server-rendering' },
      { text: 'Optimistic updates', link: '/optimistic-updates' },
      { text: 'Offline', link: '/offline' },
      { text: 'Vue, Svelte and Solid', link: '/other-frameworks' },
      { text: 'TanStack Query', link: '/tanstack-query' },
      { text: 'TanStack DB', link: '/tanstack-db' },
      { text: 'HTTP routes', link: '/http-routes' },
      { text: 'Workers', link: '/workers' },
      { text: 'Better Auth on Convoy', link: '/better-auth-adapter' },
      { text: 'Existing servers', link: '/existing-servers' },
      { text: 'Frameworks', link: '/frameworks' },
      { text: 'Static files', link: '/static-files' },
      { text: 'Queries by GET, and CDNs', link: '/caching' },
      { text: 'Deploying', link: '/deploying' },
      { text: 'Observability', link: '/observability' },
    ],
  },
  {
    text: 'Authentication',
    items: [
      { text: 'Overview', link: '/auth/' },
      { text: 'Clerk', link: '/auth/clerk' },
      { text: 'Auth0', link: '/auth/auth0' },
      { text: 'WorkOS', link: '/auth/workos' },
      { text: 'Supabase', link: '/auth/supabase' },
      { text: 'Firebase', link: '/auth/firebase' },
      { text: 'OpenID Connect and Keycloak', link: '/auth/oidc' },
      { text: 'Better Auth', link: '/auth/better-auth' },
      { text: 'Auth.js', link: '/auth/authjs' },
      { text: 'Tokens', link: '/auth/jwt' },
      { text: 'API keys', link: '/auth/api-keys' },
      { text: 'Guests', link: '/auth/anonymous' },
      { text: 'Several adapters', link: '/auth/compose' },
    ],
  },
  {
    text: 'Migrating',
    items: [
      { text: 'You know it as', link: '/equivalents' },
      { text: 'From Convex', link: '/migrating-from-convex' },
      { text: 'From Supabase Realtime', link: '/migrating-from-supabase-realtime' },
      { text: 'From tRPC', link: '/migrating-from-trpc' },
      { text: 'From Convoy 0.0.1', link: '/coming-from-0.0.1' },
    ],
  },
  {
    text: 'Reference',
    items: [
      { text: 'Guarantees', link: '/guarantees' },
      { text: 'Limits', link: '/limits' },
      { text: 'HTTP', link: '/http' },
      { text: 'OpenAPI', link: '/openapi' },
      { text: 'The command line', link: '/cli' },
      { text: 'Errors at the start', link: '/errors' },
      { text: 'Versions of Postgres and Node', link: '/versions' },
      { text: 'Commands and flags', link: '/reference/commands' },
      {
        text: 'API',
        link: '/reference/api/',
        collapsed: true,
        items: [
          { text: '@avvos/convoy', link: '/reference/api/convoy' },
          { text: '@avvos/convoy/client', link: '/reference/api/client' },
          { text: '@avvos/convoy/react', link: '/reference/api/react' },
          { text: '@avvos/convoy/react/devtools', link: '/reference/api/react-devtools' },
          { text: '@avvos/convoy/next', link: '/reference/api/next' },
          { text: '@avvos/convoy/vue', link: '/reference/api/vue' },
          { text: '@avvos/convoy/svelte', link: '/reference/api/svelte' },
          { text: '@avvos/convoy/solid', link: '/reference/api/solid' },
          { text: '@avvos/convoy/tanstack', link: '/reference/api/tanstack' },
          { text: '@avvos/convoy/tanstack-db', link: '/reference/api/tanstack-db' },
          { text: '@avvos/convoy/node', link: '/reference/api/node' },
          { text: '@avvos/convoy/sql', link: '/reference/api/sql' },
          { text: '@avvos/convoy/vite', link: '/reference/api/vite' },
          { text: '@avvos/convoy-auth', link: '/reference/api/auth' },
          { text: '@avvos/convoy-auth/authjs', link: '/reference/api/auth-authjs' },
          { text: '@avvos/convoy-auth/better-auth-adapter', link: '/reference/api/auth-better-auth-adapter' },
        ],
      },
    ],
  },
  {
    text: 'For contributors',
    collapsed: true,
    items: [
      { text: 'Contributing', link: `${repository}/blob/main/CONTRIBUTING.md` },
      { text: 'Architecture', link: `${repository}/blob/main/ARCHITECTURE.md` },
      { text: 'Mutations', link: '/internals/mutations' },
      { text: 'The change feed', link: '/internals/change-feed' },
      { text: 'Live queries', link: '/internals/live-queries' },
      { text: 'Connections', link: '/internals/connections' },
      { text: 'Ordering', link: '/internals/ordering' },
      { text: 'Telemetry', link: '/internals/telemetry' },
      { text: 'JavaScript', link: '/internals/javascript' },
      { text: 'The acceptance suite', link: '/internals/acceptance' },
      { text: 'Glossary', link: '/internals/glossary' },
    ],
  },
];

/**
 * Throws if a page is not in the sidebar.
 *
 * @param {string[]} pages paths below docs/: `internals/mutations.md`
 */
export function checkSidebar(pages) {
  const listed = new Set(linksIn(sidebar));
  const missing = pages
    .filter((page) => page !== 'index.md')
    .filter((page) => !listed.has(`/${page.replace(/(^|\/)index\.md$/, '$1').replace(/\.md$/, '')}`));
  if (missing.length > 0) {
    throw new Error(`Not in docs/site/.vitepress/sidebar.mjs: ${missing.map((page) => `docs/${page}`).join(', ')}`);
  }
}

function linksIn(items) {
  return items.flatMap(({ link, items: below = [] }) => [...(link ? [link] : []), ...linksIn(below)]);
}
