import type { RestoreOrder } from '../config/restore-settings.ts';
import type { Places } from './journal.ts';
import { type Obstacle, serviceOf } from './order.ts';

/** Why a member would not join others once its data are aside, but found a cluster of its own. */
export function rejoinObstacles(order: RestoreOrder, { manifests }: Places): Obstacle[] {
  if (order.serverDir !== undefined) return order.serverUrl === undefined ? [noServer(order)] : [];
  if (order.manifestDir === undefined) return [];
  if (manifests === undefined) {
    return [
      {
        what: `there is no etcd.yaml in ${order.manifestDir}, which would start the member that is to join`,
        cure: 'move it back there and run this again at once; or name the folder where it is now with --manifests, and move it back from there afterwards',
      },
    ];
  }
  const { member = order.nodeName, peerUrl = 'https://<address of this node>:2380' } = order;
  if (manifests.initialCluster === undefined) {
    return [
      {
        what: 'without --initial-cluster this member would found a cluster of its own instead of joining',
        cure: `on the restored node, run "etcdctl member add ${member} --peer-urls=${peerUrl}", and give here with --initial-cluster what it prints behind ETCD_INITIAL_CLUSTER=`,
      },
    ];
  }
  const names = manifests.initialCluster.split(',').map((one) => one.split('=')[0]);
  if (names.length > 1 && names.includes(member)) return [];
  return [
    {
      what: `--initial-cluster must name the restored member and this one, ${member}; it names ${names.join(', ')}`,
      cure: 'give all members, as "etcdctl member add" printed them',
    },
  ];
}

function noServer(order: RestoreOrder): Obstacle {
  const { distribution } = order;
  return {
    what: `this server is not set to join another one: without its data ${serviceOf(order)} would found a cluster of its own`,
    cure: `write "server: ${joinUrl(order, 'https://<restored server>:2380')}" into /etc/rancher/${distribution}/config.yaml, or give it with --server if the service has it from elsewhere`,
  };
}

/** Where other servers join the one whose etcd has that address. */
export function joinUrl({ distribution }: Pick<RestoreOrder, 'distribution'>, peerUrl: string): string {
  return peerUrl.replace(/^https?:/, 'https:').replace(/:\d+$/, distribution === 'rke2' ? ':9345' : ':6443');
}
