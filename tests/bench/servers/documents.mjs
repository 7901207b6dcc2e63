// Converts between rows and Convoy's documents, for the other contestants.

/** A row of `posts`. */
export function post(row) {
  return { ...row.data, id: `posts:${row.id}`, _creationTime: row.created_at.getTime() };
}

export function idOf({ id }) {
  return `messages:${id}`;
}

/** @param {string} id `table:uuid` */
export function uuidOf(id) {
  return id.slice(id.indexOf(':') + 1);
}

/** Whether the balance of the paying account is sufficient, given the rows of both accounts. */
export function canPay(rows, from, amount) {
  const payer = rows.length === 2 ? rows.find(({ id }) => id === from) : undefined;
  return payer !== undefined && Number(payer.balance) >= amount;
}
