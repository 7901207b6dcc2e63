import { expect, it } from 'vitest';
import { layoutOf } from '../options.js';
import { createTerminal } from '../terminal.js';
import { openDatabase } from './database.js';

const displayUrl = async (url: string) => {
  const layout = layoutOf({ root: '.', schema: 'convoy/schema.ts' }, '/nowhere');
  return (await openDatabase(url, layout, createTerminal({ verbose: false }))).displayUrl;
};

it.each([
  ['postgres://app:s3cret@db:5433/shop?sslmode=require', 'postgres://app:…@db:5433/shop?sslmode=require'],
  ['postgres://app@db/shop?password=s3cret&sslmode=require', 'postgres://app@db/shop?password=…&sslmode=require'],
  ['postgres:///shop?host=/run/pg&user=a&password=s3cret', 'postgres:///shop?host=/run/pg&user=a&password=…'],
  ['postgres://app@db/shop?%70assword=s3cret', 'postgres://app@db/shop?password=…'],
  ['postgres://app@db/shop?sslpassword=s3cret&password=s3cret', 'postgres://app@db/shop?sslpassword=…&password=…'],
  ['postgres://app@db/shop?pasword=s3cret&port=1', 'postgres://app@db/shop?pasword=…&port=1'],
  ['postgres://K%C3%B6nig:s3cret@db/shop', 'postgres://König:…@db/shop'],
])('shows %s without its password', async (url, expected) => {
  expect(await displayUrl(url)).toBe(expected);
});

// The engine rejects them with the position of the error; printing them must not fail before that.
it.each([
  ['foo', 'DATABASE_URL'],
  ['', 'DATABASE_URL'],
  ['postgres://app:s3cret@db:99999/shop', 'DATABASE_URL'],
  ['postgres://app%zz:s3cret@db/shop', 'postgres://app%zz:…@db/shop'],
  ['postgres://app:s3cret@db/shop%FF', 'postgres://app:…@db/shop%FF'],
  ['postgres://app:s3cret@db/shop?options=%zz&password=%zz', 'postgres://app:…@db/shop?options=%zz&password=…'],
])('shows the invalid URL %s without failing', async (url, expected) => {
  expect(await displayUrl(url)).toBe(expected);
});
