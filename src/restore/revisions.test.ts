import { expect, it } from 'vitest';
import { revisionsToAdd } from './revisions.ts';

const at = (revision: number) => ({ revision });

it.each([
  ['there are no data', 1e9, 50, undefined, 1e9],
  ['the data are a little later than the snapshot', 1e9, 50, 90, 1e9],
  ['nothing is to be added', 0, 50, 1e9, 0],
])('adds what was wanted when %s', (_what, wanted, snapshot, served, added) => {
  const notes: string[] = [];
  const replaced = served === undefined ? undefined : at(served);
  expect(revisionsToAdd({ bumpRevision: wanted }, at(snapshot), replaced, notes)).toBe(added);
  expect(notes).toEqual([]);
});

it.each([
  ['come of an earlier restore', 1e9, 1e9 + 200],
  ['are later than what was wanted reaches to', 7, 60],
  ['may have served more than their database says', 1e9, 1e9 + 40],
])('goes above the data that are replaced when they %s, and says so', (_what, wanted, served) => {
  const notes: string[] = [];
  const added = revisionsToAdd({ bumpRevision: wanted }, at(50), at(served), notes);
  expect(50 + added).toBeGreaterThan(served + 100_000);
  expect(notes).toEqual([expect.stringContaining(`of revision ${served}`)]);
});
