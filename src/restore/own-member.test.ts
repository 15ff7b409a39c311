import { expect, it } from 'vitest';
import { databaseOf as database, memberAt as one } from '../../test/support/members.ts';
import { plainOrder } from '../../test/support/restore-order.ts';
import type { RestoreOrder } from '../config/restore-settings.ts';
import type { DatabaseMember } from './database.ts';
import type { Obstacle } from './order.ts';
import { memberOf, otherMembers } from './own-member.ts';

const custom: RestoreOrder = { ...plainOrder, nodeName: 'cp1' };
const k3s: RestoreOrder = { ...custom, distribution: 'k3s', serverDir: '/var/lib/rancher/k3s/server' };

it.each([
  ['the address of a machine that is gone', custom, one('cp1', '10.0.0.9')],
  ['that of the only member, which had another name', custom, one('old', '10.0.0.9')],
  ['that of a K3s node whose address has changed', k3s, one('cp1-12345678', '10.0.0.9')],
])('does not silently take %s', (_what, order, member) => {
  const obstacles: Obstacle[] = [];
  memberOf(order, database(member), obstacles, ['127.0.0.1', '10.0.0.1']);
  expect(obstacles).toEqual([
    {
      what: `${member.name} of the snapshot is at https://10.0.0.9:2380, which is none of the addresses of this node (127.0.0.1, 10.0.0.1)`,
      cure: 'give --peer-url with an address at which others reach this node; --peer-url=https://10.0.0.9:2380 if that is one',
    },
  ]);
});

it.each([
  ['an address of this node', custom, one('cp1', '10.0.0.1'), 'https://10.0.0.1:2380'],
  ['one of IPv6', custom, one('cp1', '[fd00::1]'), 'https://[fd00::1]:2380'],
  [
    'a name, which may have moved along',
    custom,
    one('cp1', 'cp1.example.com'),
    'https://cp1.example.com:2380',
  ],
  [
    'what is given',
    { ...custom, peerUrl: 'https://1.2.3.4:2380' },
    one('cp1', '10.0.0.9'),
    'https://1.2.3.4:2380',
  ],
])('takes %s', (_what, order, member, peerUrl) => {
  const obstacles: Obstacle[] = [];
  expect(memberOf(order, database(member), obstacles, ['10.0.0.1', 'fd00::1'])).toEqual({
    member: 'cp1',
    peerUrl,
  });
  expect(obstacles).toEqual([]);
});

it('does not send this node to join itself, by whatever address it was known', () => {
  const names = (order: RestoreOrder, member: string, ...members: DatabaseMember[]) =>
    otherMembers(order, members, { name: member, peerUrls: ['https://10.0.0.1:2380'] }).map(
      ({ name }) => name,
    );
  const [cp2, s2] = [one('cp2', '10.0.0.2'), one('s2-00000002', '10.0.0.2')];
  expect(names(custom, 'cp1', one('cp1', '10.0.0.9'), cp2)).toEqual(['cp2']);
  expect(names({ ...custom, nodeName: 'x' }, 'new', one('old', '10.0.0.1'), cp2)).toEqual(['cp2']);
  expect(names(k3s, 'cp1-ffffffff', one('cp1-00000001', '10.0.0.9'), s2)).toEqual(['s2-00000002']);
  expect(names(custom, 'new', one('the-only-one', '10.0.0.9'))).toEqual([]);
  expect(names(custom, 'cp1', { ...cp2, isLearner: true })).toEqual([]);
});
