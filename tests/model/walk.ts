/** Paginates through a query while documents are written; each page, and the whole, is compared with the model. */
import { buildQuery, type Db, randomPlan } from './plans.js';
import { Mismatch, type Session } from './session.js';
import { type Plan, type Row, read } from './table.js';

/** Reads and writes for pagination: in one transaction, or each in a separate call. */
export interface Access {
  read<T>(use: (db: Db) => Promise<T>): Promise<T>;
  write(): Promise<void>;
}

/** A position between two pages: the row before it, as it was read, and its cursor. */
interface Position {
  readonly row: Row | null;
  readonly cursor: string | null;
}

const MAX_PAGES = 40;

export async function walk(session: Session, access: Access): Promise<void> {
  const { random } = session;
  const plan = randomPlan(random, session.model);
  session.trace.push(JSON.stringify(plan));
  const numItems = 1 + random.below(random.chance(0.5) ? 4 : 30);
  const initial = session.model.rows(plan).all.map(({ id }) => id);
  const [outer, touched] = [session.touched, new Set<string>()];
  session.touched = touched;
  const seen: string[] = [];
  const positions: Position[] = [{ row: null, cursor: random.pick([null, '']) }];
  let finished = false;
  while (!finished && positions.length < MAX_PAGES) {
    const position = positions.at(-1) as Position;
    const next = await readPage(session, access, { plan, position, numItems });
    seen.push(...next.ids);
    finished = next.isDone;
    positions.push(next.position);
    if (random.chance(0.4)) await access.write();
  }
  if (finished) checkComplete(plan, { initial, touched, seen });
  await checkEndCursor(session, access, plan, positions);
  for (const id of touched) outer?.add(id);
  session.touched = outer;
}

async function readPage(
  session: Session,
  access: Access,
  { plan, position, numItems }: { readonly plan: Plan; readonly position: Position; readonly numItems: number },
) {
  const { cursor } = position;
  const found = await access.read((db) => buildQuery(db, plan).paginate({ cursor, numItems }));
  const after = session.model.rowsAfter(plan, position.row);
  const rows = after.slice(0, numItems);
  const what = `a page of ${numItems} of ${JSON.stringify(plan)}, after ${JSON.stringify(position.row)}`;
  session.check(what, found.page, rows.map(read));
  session.check(`isDone of ${what}`, found.isDone, after.length <= numItems);
  session.check(`the type of the cursor of ${what}`, typeof found.continueCursor, 'string');
  return {
    ids: rows.map(({ id }) => id),
    isDone: found.isDone,
    position: {
      row: rows.at(-1) ?? position.row,
      cursor: found.continueCursor,
    },
  };
}

/** Checks that each document that existed throughout, and was not written meanwhile, was seen once. */
function checkComplete(
  plan: Plan,
  pages: { initial: readonly string[]; touched: ReadonlySet<string>; seen: readonly string[] },
) {
  for (const id of pages.initial) {
    if (pages.touched.has(id)) continue;
    const times = pages.seen.filter((each) => each === id).length;
    if (times !== 1) throw new Mismatch(`${id} was seen ${times} times in the pages of ${JSON.stringify(plan)}`);
  }
}

/** Checks that a page with an `endCursor` covers the same range after writes. */
async function checkEndCursor(
  session: Session,
  access: Access,
  plan: Plan,
  positions: readonly Position[],
): Promise<void> {
  const first = session.random.below(positions.length - 1);
  const [from, to] = [positions[first], positions[first + 1]];
  if (from === undefined || to === undefined || to.row === null) return;
  const { cursor } = from;
  const again = { cursor, endCursor: to.cursor, numItems: 1 };
  const found = await access.read((db) => buildQuery(db, plan).paginate(again));
  const compare = session.model.comparing(plan);
  const rows = session.model.rowsAfter(plan, from.row).filter((row) => compare(row, to.row as Row) <= 0);
  session.check(`the page between two positions of ${JSON.stringify(plan)}`, found.page, rows.map(read));
  session.check('the cursor of a page with an endCursor', found.continueCursor, to.cursor);
}
