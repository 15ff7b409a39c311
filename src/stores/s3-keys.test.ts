import { expect, it } from 'vitest';
import { isNameOfNode, nameOfKey } from './s3-keys.ts';

it.each([
  ['a/', 'a/x-1', 'x-1'],
  ['a/', 'ab/x-1', undefined],
  ['a/', 'a/b/x-1', undefined],
  ['a/', 'a/', undefined],
  ['a/', 'a/.metadata', undefined],
  ['a/', 'a/x-1.part', undefined],
  ['a/', 'a/..', undefined],
  ['', 'x-1', 'x-1'],
  ['', 'b/x-1', undefined],
  ['', '.metadata/x-1', undefined],
])('in folder "%s" the object "%s" is the snapshot %s', (prefix, key, name) => {
  expect(nameOfKey(prefix, key)).toBe(name);
});

it.each([
  ['on-demand-node-1-1730308816', true],
  ['on-demand-node-1-1730308816.zip', true],
  ['etcd-snapshot-node-1-1', true],
  ['on-demand-node-11-1730308816', false],
  ['on-demand-other-node-1-1730308816-x', false],
  ['-node-1-1730308816', false],
  ['node-1-1730308816', false],
  ['on-demand-node-1-', false],
])('%s is of node-1: %s', (name, ours) => {
  expect(isNameOfNode(name, 'node-1')).toBe(ours);
});
