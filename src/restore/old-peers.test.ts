import { expect, it } from 'vitest';
import { databaseOf, memberAt } from '../../test/support/members.ts';
import { plainOrder } from '../../test/support/restore-order.ts';
import type { RestoreOrder } from '../config/restore-settings.ts';
import { oldPeersThatAnswer } from './old-peers.ts';

const database = databaseOf(memberAt('cp1', '192.0.2.1'), memberAt('cp2', '192.0.2.2'));
const order: RestoreOrder = { ...plainOrder, nodeName: 'cp1' };
const there = { member: 'cp1', peerUrl: 'https://192.0.2.1:2380' };
const elsewhere = { member: 'cp1', peerUrl: 'https://198.51.100.7:2380' };

/** Everything that is asked answers. */
async function look(change: Partial<RestoreOrder>, self: typeof there) {
  const asked: string[] = [];
  const isMember = async (url: string) => asked.push(url) > 0;
  const never = new AbortController().signal;
  const found = await oldPeersThatAnswer({ ...order, ...change }, database, self, { isMember }, never, []);
  return { ...found, asked };
}

const still = 'cp2 (https://192.0.2.2:2380) of the cluster that the data are of still answers';

it('a node that takes an old name, and no old address, is only told that others run', async () => {
  expect(await look({}, elsewhere)).toEqual({
    obstacles: [],
    notes: [expect.stringContaining(`${still}; this node takes no address of that cluster`)],
    asked: ['https://192.0.2.2:2380'],
  });
});

it('a node that takes an old address is refused, until --allow-running-peers says that nobody there is a member', async () => {
  expect(await look({}, there)).toMatchObject({
    obstacles: [
      { what: still, cure: expect.stringMatching(/^stop it there.*restore with --allow-running-peers$/) },
    ],
    notes: [],
  });
  expect(await look({ allowRunningPeers: true }, there)).toMatchObject({
    obstacles: [],
    notes: [`${still}; you allow that with --allow-running-peers`],
  });
});

it('a reset, which keeps the ids of the cluster, is refused in any case', async () => {
  const refused = { obstacles: [{ what: still, cure: expect.not.stringContaining('--allow') }], notes: [] };
  expect(await look({ purpose: 'reset', allowRunningPeers: true }, elsewhere)).toMatchObject(refused);
});
