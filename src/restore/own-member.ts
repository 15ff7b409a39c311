import { randomUUID } from 'node:crypto';
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { RestoreOrder } from '../config/restore-settings.ts';
import type { DatabaseFacts, DatabaseMember } from './database.ts';
import type { Obstacle } from './order.ts';

/** Addresses of this node. */
export function addressesHere(): string[] {
  return Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address));
}

/** Which of the members of a cluster this node was, as names tell; a cluster of one has only one to be. */
function ownMember(
  { serverDir, nodeName, member }: Pick<RestoreOrder, 'serverDir' | 'nodeName' | 'member'>,
  members: readonly DatabaseMember[],
): DatabaseMember | undefined {
  const own = `${nodeName}-`;
  // K3s and RKE2 put eight digits of chance behind the name of the node.
  const isMine = ({ name }: DatabaseMember) =>
    serverDir === undefined
      ? name === (member ?? nodeName)
      : name.startsWith(own) && /^[0-9a-f]{8}$/.test(name.slice(own.length));
  return members.findLast(isMine) ?? (members.length === 1 ? members[0] : undefined);
}

/**
 * The one member that will be: K3s gives a new name each time, others keep theirs. An address that was not given must be one
 * of this node, or the member would wait for others where a machine of the past was.
 */
export function memberOf(
  order: RestoreOrder,
  database: DatabaseFacts | undefined,
  obstacles: Obstacle[],
  here: readonly string[] = addressesHere(),
): { readonly member: string; readonly peerUrl: string } | undefined {
  const known = database?.members ?? [];
  const rancher = order.serverDir !== undefined;
  const self = ownMember(order, known);
  const member = order.member ?? (rancher ? `${order.nodeName}-${randomUUID().slice(0, 8)}` : self?.name);
  const peerUrl = order.peerUrl ?? self?.peerUrls[0];
  if (member !== undefined && peerUrl !== undefined) {
    if (order.peerUrl === undefined && !isHere(peerUrl, here)) {
      obstacles.push({
        what: `${self?.name} of the snapshot is at ${peerUrl}, which is none of the addresses of this node (${here.join(', ')})`,
        cure: `give --peer-url with an address at which others reach this node; --peer-url=${peerUrl} if that is one`,
      });
    }
    return { member, peerUrl };
  }
  if (database === undefined) return undefined;
  const names = known.map(({ name, peerUrls }) => `${name} (${peerUrls.join(',')})`).join(', ');
  obstacles.push({
    what: `which member of the snapshot this node is cannot be told; there are ${names}`,
    cure: 'give --member-name and --peer-url',
  });
  return undefined;
}

/** A name, unlike a number, moves along with its node. */
function isHere(url: string, here: readonly string[]): boolean {
  const host = URL.parse(url)?.hostname.replaceAll(/^\[|\]$/g, '') ?? '';
  return isIP(host) === 0 || here.includes(host);
}

/** The members that are to join again: all but this node, and those that do not vote. */
export function otherMembers(
  order: Pick<RestoreOrder, 'serverDir' | 'nodeName' | 'member'>,
  members: readonly DatabaseMember[],
  self: Pick<DatabaseMember, 'name' | 'peerUrls'>,
): DatabaseMember[] {
  const own = ownMember(order, members);
  return members.filter(
    (one) =>
      one !== own &&
      !one.isLearner &&
      one.name !== self.name &&
      !one.peerUrls.some((url) => self.peerUrls.includes(url)),
  );
}
