/** A walk over all pages of a query while others write: compared page by page, and as a whole. */
import { type Db, querying, randomPlan } from './plans.js';
import { Mismatch, type Session } from './session.js';
import { type Plan, type Row, read } from './table.js';

/** How a walk reads and writes: in one transaction, or each by a call of its own. */
export interface Hands {
  read<T>(use: (db: Db) => Promise<T>): Promise<T>;
  write(): Promise<void>;
}

/** A place between two pages: the row before it, as it was when it was read, and the cursor that names it. */
interface Place {
  readonly row: Row | null;
  readonly cursor: string | null;
}

const MOST_PAGES = 40;

export async function walk(session: Session, hands: Hands): Promise<void> {
  const { random } = session;
  const plan = randomPlan(random, session.model);
  session.trace.push(JSON.stringify(plan));
  const numItems = 1 + random.below(random.chance(0.5) ? 4 : 30);
  const there = session.model.rows(plan).all.map(({ id }) => id);
  const [outer, touched] = [session.touched, new Set<string>()];
  session.touched = touched;
  const seen: string[] = [];
  const places: Place[] = [{ row: null, cursor: random.pick([null, '']) }];
  let finished = false;
  while (!finished && places.length < MOST_PAGES) {
    const place = places.at(-1) as Place;
    const next = await readPage(session, hands, { plan, place, numItems });
    seen.push(...next.ids);
    finished = next.isDone;
    places.push(next.place);
    if (random.chance(0.4)) await hands.write();
  }
  if (finished) checkWhole(plan, { there, touched, seen });
  await readAgain(session, hands, plan, places);
  for (const id of touched) outer?.add(id);
  session.touched = outer;
}

async function readPage(
  session: Session,
  hands: Hands,
  { plan, place, numItems }: { readonly plan: Plan; readonly place: Place; readonly numItems: number },
) {
  const { cursor } = place;
  const found = await hands.read((db) => querying(db, plan).paginate({ cursor, numItems }));
  const behind = session.model.rowsBehind(plan, place.row);
  const rows = behind.slice(0, numItems);
  const what = `a page of ${numItems} of ${JSON.stringify(plan)}, behind ${JSON.stringify(place.row)}`;
  session.check(what, found.page, rows.map(read));
  session.check(`isDone of ${what}`, found.isDone, behind.length <= numItems);
  session.check(`the type of the cursor of ${what}`, typeof found.continueCursor, 'string');
  return {
    ids: rows.map(({ id }) => id),
    isDone: found.isDone,
    place: {
      row: rows.at(-1) ?? place.row,
      cursor: found.continueCursor,
    },
  };
}

/** Whatever was there throughout, and was not written meanwhile, was seen once. */
function checkWhole(
  plan: Plan,
  walked: { there: readonly string[]; touched: ReadonlySet<string>; seen: readonly string[] },
) {
  for (const id of walked.there) {
    if (walked.touched.has(id)) continue;
    const times = walked.seen.filter((each) => each === id).length;
    if (times !== 1) throw new Mismatch(`${id} was seen ${times} times on a walk over ${JSON.stringify(plan)}`);
  }
}

/** A page that names its end keeps its range, whatever was written into it. */
async function readAgain(session: Session, hands: Hands, plan: Plan, places: readonly Place[]): Promise<void> {
  const first = session.random.below(places.length - 1);
  const [from, to] = [places[first], places[first + 1]];
  if (from === undefined || to === undefined || to.row === null) return;
  const { cursor } = from;
  const again = { cursor, endCursor: to.cursor, numItems: 1 };
  const found = await hands.read((db) => querying(db, plan).paginate(again));
  const compare = session.model.comparing(plan);
  const rows = session.model.rowsBehind(plan, from.row).filter((row) => compare(row, to.row as Row) <= 0);
  session.check(`the page between two places of ${JSON.stringify(plan)}`, found.page, rows.map(read));
  session.check('the cursor of a page that names its end', found.continueCursor, to.cursor);
}
