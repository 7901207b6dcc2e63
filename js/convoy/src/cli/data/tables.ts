/** The value of `--tables`: names separated by commas. */
export function listOf(names: string | undefined): string[] | undefined {
  const list = names
    ?.split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
  if (list?.length === 0)
    throw new Error('--tables names no table: give names separated by commas, as in --tables users,messages.');
  return list;
}
