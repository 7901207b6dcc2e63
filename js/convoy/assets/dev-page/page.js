// The page of `convoy dev`. It shows what the server reports, and calls functions by their forms.
import { formOf, text } from './fields.js';

const POLL_MS = 1_000;
const MAX_LOG_LINES = 500;
const VIEWS = ['functions', 'tables', 'live', 'log'];

const byId = (id) => document.getElementById(id);
const token = takeToken();
/** What was chosen, and what is shown already. */
const shown = { function: null, table: null, lists: '', documents: '', live: '', seenLines: 0, lines: [] };
let state = null;
/** Ends the subscription of the function that is shown. */
let unsubscribe = () => {};

/** The token of the link stays out of the address bar and of the history. */
function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (given !== null) {
    sessionStorage.setItem('convoy-token', given);
    history.replaceState(null, '', location.pathname);
  }
  return sessionStorage.getItem('convoy-token') ?? '';
}

/** Calls the page's server; throws its error. */
async function ask(path, body) {
  const response = await fetch(`/_convoy/${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!answer.ok) throw Object.assign(new Error(answer.error.message), answer.error);
  return answer.data;
}

function showStatus(message, isBad = false) {
  const status = byId('status');
  if (status.textContent !== message) status.textContent = message;
  status.dataset.state = isBad ? 'bad' : 'good';
}

function showView() {
  const view = VIEWS.find((name) => location.hash === `#${name}`) ?? 'functions';
  for (const section of document.querySelectorAll('section')) section.hidden = section.dataset.view !== view;
  for (const link of document.querySelectorAll('nav a')) {
    if (link.dataset.view === view) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
}

/** Reads the state, and shows what has changed. Runs every second while the page is visible. */
async function refresh() {
  try {
    state = await ask('state', { seenLines: shown.seenLines });
    const count = state.live.queries.length;
    showStatus(`Connected · ${state.functions.length} functions · ${count} live ${count === 1 ? 'query' : 'queries'}`);
    showProblem();
    showLists();
    showLive();
    showLog();
    if (shown.table !== null && !byId('table').closest('section').hidden) await showDocuments();
  } catch (error) {
    showStatus(error instanceof TypeError ? 'The server does not answer' : error.message, true);
  }
}

function showProblem() {
  const problem = byId('problem');
  problem.hidden = state.problem === null;
  const message = state.problem?.message ?? '';
  if (problem.textContent !== message) problem.textContent = message;
}

function showLists() {
  const filter = byId('filter').value.trim().toLowerCase();
  const key = JSON.stringify([
    state.functions,
    state.tables,
    state.internalCallable,
    filter,
    shown.function,
    shown.table,
  ]);
  if (key === shown.lists) return;
  shown.lists = key;
  const matching = state.functions.filter(({ name }) => name.toLowerCase().includes(filter));
  byId('functions').replaceChildren(
    ...matching.map(({ name, kind, internal }) =>
      choice(name, internal ? `internal ${kind}` : kind, shown.function === name, () => openFunction(name)),
    ),
  );
  byId('tables').replaceChildren(
    ...state.tables.map((name) => choice(name, '', shown.table === name, () => openTable(name))),
  );
}

function choice(name, kind, isCurrent, open) {
  const item = document.createElement('li');
  const button = document.createElement('button');
  button.type = 'button';
  button.append(text('span', name), text('span', kind, 'kind'));
  if (isCurrent) button.setAttribute('aria-current', 'true');
  button.addEventListener('click', async () => {
    await open();
    showLists();
    // The list was made again.
    for (const each of document.querySelectorAll('.list button[aria-current]')) {
      if (each.firstChild.textContent === name) each.focus();
    }
  });
  item.append(button);
  return item;
}

async function openFunction(name) {
  unsubscribe();
  shown.function = name;
  const { kind, internal } = state.functions.find((each) => each.name === name);
  const detail = byId('function');
  detail.replaceChildren(text('h2', name), text('p', internal ? `internal ${kind}` : kind, 'hint'));
  if (internal && !state.internalCallable) {
    detail.append(text('p', 'Internal functions cannot be called from this page while --host is set.'));
    return;
  }
  try {
    const schema = await ask('input', { name });
    if (shown.function === name) detail.append(...callForm({ name, kind, internal, schema }));
  } catch (error) {
    detail.append(text('p', error.message, 'bad'));
  }
}

function callForm({ name, kind, internal, schema }) {
  const form = document.createElement('form');
  const fields = formOf(schema);
  const context = formOf({});
  const contextArea = context.element.querySelector('textarea');
  contextArea.value = '';
  context.element.firstChild.textContent = 'Context as JSON, instead of calling createContext ';
  const more = document.createElement('details');
  more.append(text('summary', 'Context'), context.element);
  const run = text('button', kind === 'query' ? 'Run and follow' : 'Call', 'run');
  const output = document.createElement('div');
  output.setAttribute('aria-live', 'polite');
  form.append(fields.element, more, run);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    unsubscribe();
    run.disabled = true;
    try {
      const args = fields.read();
      const given = contextArea.value.trim() === '' ? {} : { context: JSON.parse(contextArea.value) };
      showResult(output, await ask('call', { name, args, ...given }), 'Result');
      // Internal queries and given contexts are not reachable from the network.
      if (kind === 'query' && !internal && given.context === undefined) unsubscribe = follow(name, args, output);
    } catch (error) {
      showError(output, error);
    } finally {
      run.disabled = false;
    }
  });
  return [form, output];
}

/** Shows each new result of a query. */
function follow(name, args, output) {
  const address = `${state.basePath}/subscribe?name=${encodeURIComponent(name)}&args=${encodeURIComponent(JSON.stringify(args))}`;
  const source = new EventSource(address);
  source.addEventListener('message', ({ data }) => {
    const frame = JSON.parse(data);
    if (frame.type === 'error') showError(output, frame.error);
    else if (frame.type === 'result') showResult(output, frame.data, 'Live result');
  });
  return () => source.close();
}

function showResult(output, data, heading) {
  const title = text('h3', heading);
  if (heading === 'Live result') title.append(' ', text('span', '● updates by itself', 'badge'));
  output.replaceChildren(title, text('pre', JSON.stringify(data, null, 2)));
}

function showError(output, { code, message, details }) {
  const lines = [code === undefined ? message : `${code}: ${message}`];
  if (details !== undefined) lines.push(JSON.stringify(details, null, 2));
  output.replaceChildren(text('h3', 'Error'), text('pre', lines.join('\n'), 'bad'));
}

async function openTable(name) {
  shown.table = name;
  shown.documents = '';
  await showDocuments();
}

async function showDocuments() {
  const name = shown.table;
  const detail = byId('table');
  try {
    const documents = await ask('latest', { table: name });
    const key = JSON.stringify([name, documents]);
    if (shown.table !== name || key === shown.documents) return;
    shown.documents = key;
    const hint =
      documents.length === 0 ? 'It has no documents.' : 'The latest documents, at most 20, the newest first.';
    detail.replaceChildren(text('h2', name), text('p', hint, 'hint'));
    if (documents.length > 0) detail.append(tableOf(documents));
  } catch (error) {
    shown.documents = '';
    detail.replaceChildren(text('h2', name), text('p', error.message, 'bad'));
  }
}

function tableOf(documents) {
  const columns = [...new Set(documents.flatMap((each) => Object.keys(each)))];
  return grid(
    columns,
    documents.map((each) => columns.map((column) => cellOf(column, each[column]))),
  );
}

function cellOf(column, value) {
  if (value === undefined) return '';
  if (column === '_creationTime') return new Date(value).toLocaleString();
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function grid(columns, rows) {
  const table = document.createElement('table');
  const head = table.createTHead().insertRow();
  for (const column of columns) {
    const cell = text('th', column);
    cell.scope = 'col';
    head.append(cell);
  }
  const body = table.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    for (const cell of row) line.insertCell().textContent = cell;
  }
  const scroll = document.createElement('div');
  scroll.className = 'scroll';
  scroll.append(table);
  return scroll;
}

function showLive() {
  const key = JSON.stringify(state.live);
  if (key === shown.live) return;
  shown.live = key;
  const { queries } = state.live;
  const rows = queries.map((query) => [
    query.function,
    query.args === null ? '' : JSON.stringify(query.args),
    query.reads.join('\n'),
    String(query.subscribers),
    String(query.runs),
    query.lastCause ?? '',
  ]);
  const columns = ['Function', 'Input', 'Reads', 'Subscribers', 'Runs', 'Cause of the last run'];
  byId('live').replaceChildren(
    queries.length === 0 ? text('p', 'No page subscribes to a query now.', 'hint') : grid(columns, rows),
  );
}

function showLog() {
  const { lines, total } = state.log;
  shown.seenLines = total;
  if (lines.length === 0) return;
  const log = byId('log');
  const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 20;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours of a terminal begin with this character
  shown.lines = [...shown.lines, ...lines.map((line) => line.replace(/\u001b\[[\d;]*m/g, ''))].slice(-MAX_LOG_LINES);
  log.textContent = shown.lines.join('\n');
  if (atEnd) log.scrollTop = log.scrollHeight;
}

addEventListener('hashchange', () => {
  // A link with a new token, opened in this tab.
  if (location.hash.startsWith('#token=')) location.reload();
  showView();
});
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) void refresh();
});
// It scrolls, so the keyboard must reach it.
byId('log').tabIndex = 0;
byId('filter').addEventListener('input', () => state !== null && showLists());
showView();
await refresh();
setInterval(() => {
  if (!document.hidden) void refresh();
}, POLL_MS);
