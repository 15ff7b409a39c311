import { networkInterfaces } from 'node:os';
import type { RestoreOrder } from '../config/restore-settings.ts';
import { abortError } from '../errors.ts';
import type { DatabaseFacts, DatabaseMember } from './database.ts';
import { type Obstacle, serviceOf } from './order.ts';
import type { EtcdTools } from './ports.ts';

export interface OldPeers {
  readonly obstacles: readonly Obstacle[];
  readonly notes: readonly string[];
}

/**
 * Other members of the cluster that the database is of, which still run. A member that comes back with data of another time
 * must not meet them. Where this node takes none of their addresses they are only worth a note: a snapshot of a cluster that
 * runs may well be restored elsewhere.
 * @param self what this node will be; undefined while that is not known
 */
export async function oldPeersThatAnswer(
  order: RestoreOrder,
  database: DatabaseFacts,
  self: { readonly member: string; readonly peerUrl: string } | undefined,
  tools: Pick<EtcdTools, 'isMember'>,
  signal: AbortSignal,
  here: readonly string[] = addressesHere(),
): Promise<OldPeers> {
  const { members } = database;
  const own = (member: DatabaseMember) => isOwn(member, order) || isAt(member, self?.peerUrl, here);
  const others = members.filter((member) => !own(member));
  const answers = await Promise.all(
    others.flatMap(({ name, peerUrls }) =>
      peerUrls.map(async (url) => ({ name, url, answers: await tools.isMember(url, signal) })),
    ),
  );
  // Nobody was asked then, whatever the answers say.
  if (signal.aborted) throw abortError(signal);
  const running = answers.filter(({ answers: yes }) => yes).map(({ name, url }) => `${name} (${url})`);
  if (running.length === 0) return { obstacles: [], notes: [] };
  const still = `${running.join(', ')} of the cluster that the data are of still ${running.length === 1 ? 'answers' : 'answer'}`;
  if (order.purpose !== 'reset') {
    const noted = (why: string) => ({ obstacles: [], notes: [`${still}; ${why}`] });
    // A name alone is not taken: no old member looks for this node where it never was.
    if (!members.some((member) => isAt(member, self?.peerUrl, here)))
      return noted('this node takes no address of that cluster, and comes to be a cluster of its own');
    if (order.allowRunningPeers) return noted('you allow that with --allow-running-peers');
  }
  const service = serviceOf(order);
  const cure =
    order.distribution === 'kubeadm'
      ? 'move etcd.yaml out of /etc/kubernetes/manifests on all other control planes'
      : `stop it there, and keep it stopped: systemctl disable --now ${service}`;
  const otherwise =
    order.purpose === 'reset'
      ? ''
      : '; or, if something else answers there, restore with --allow-running-peers';
  return { obstacles: [{ what: still, cure: `${cure}${otherwise}` }], notes: [] };
}

/** What this node was, as names tell: it need not be asked. */
function isOwn({ name }: DatabaseMember, { member, nodeName, serverDir }: RestoreOrder): boolean {
  const named = serverDir === undefined ? name : name.replace(/-[0-9a-f]{8}$/, '');
  return name === member || named === nodeName;
}

/** Whether this node will be, or is, where that member was. */
function isAt({ peerUrls }: DatabaseMember, peerUrl: string | undefined, here: readonly string[]): boolean {
  if (peerUrls.some((url) => url === peerUrl)) return true;
  const hosts = peerUrls.map((url) => URL.parse(url)?.hostname.replaceAll(/^\[|\]$/g, ''));
  return here.some((address) => hosts.includes(address));
}

/** Of this node, without loopback, where several members of a test may be. */
function addressesHere(): string[] {
  return Object.values(networkInterfaces()).flatMap((all = []) =>
    all.filter(({ internal }) => !internal).map(({ address }) => address),
  );
}
