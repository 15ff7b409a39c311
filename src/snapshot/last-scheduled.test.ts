import { expect, it } from 'vitest';
import { lastScheduled } from './last-scheduled.ts';

const NOW = new Date('2024-10-31T00:00:00Z');
const seconds = (time: string) => new Date(time).getTime() / 1000;
const last = (names: readonly string[]) =>
  lastScheduled(names, { base: 'etcd-snapshot', nodeName: 'n1' }, NOW)?.toISOString().slice(0, 16);

it('is the newest of the schedule and the node, in whatever order they come', () => {
  const names = ['2024-10-30T12:00', '2024-10-30T18:00', '2024-10-29T00:00'].map(
    (time) => `etcd-snapshot-n1-${seconds(`${time}Z`)}`,
  );
  expect(last(names)).toBe('2024-10-30T18:00');
  expect(last(names.map((name) => `${name}.zip`))).toBe('2024-10-30T18:00');
});

it('is none of another node, another schedule or another kind of name', () => {
  const at = seconds('2024-10-30T12:00Z');
  const others = [
    `etcd-snapshot-n2-${at}`,
    `etcd-snapshot-n1-b-${at}`,
    `on-demand-n1-${at}`,
    'etcd-snapshot-n1-x',
  ];
  expect(last(others)).toBeUndefined();
});

it('is none of a time that has not come: the clock was wrong then', () => {
  const early = `etcd-snapshot-n1-${seconds('2024-11-30T00:00Z')}`;
  expect(last([early])).toBeUndefined();
  expect(last([early, `etcd-snapshot-n1-${seconds('2024-10-30T12:00Z')}`])).toBe('2024-10-30T12:00');
});
