import type { RestoreOrder } from '../../src/config/restore-settings.ts';

/** An order as somebody gives it who says nothing but what to do: a restore of an etcd of its own, in `/var/lib/etcd`. */
export const plainOrder: RestoreOrder = {
  purpose: 'restore',
  distribution: 'custom',
  nodeName: 'node-1',
  dataDir: '/var/lib/etcd',
  dataDirGiven: true,
  serverDir: undefined,
  member: undefined,
  peerUrl: undefined,
  bumpRevision: 0,
  bumpGiven: false,
  token: undefined,
  serverUrl: undefined,
  allowOtherCluster: false,
  allowRunningPeers: false,
  manifestDir: undefined,
  manifestsGiven: false,
  initialCluster: undefined,
  addresses: [],
  dryRun: false,
  printCommands: false,
  yes: true,
};
