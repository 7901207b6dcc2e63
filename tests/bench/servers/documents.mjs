// Rows as Convoy's documents and back, for those who are not Convoy.

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

/** Whether the account that is to pay can, given both rows. */
export function canPay(rows, from, amount) {
  const payer = rows.length === 2 ? rows.find(({ id }) => id === from) : undefined;
  return payer !== undefined && Number(payer.balance) >= amount;
}
