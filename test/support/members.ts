import type { DatabaseFacts, DatabaseMember } from '../../src/restore/database.ts';

/** A member that votes, reached by others at that address. */
export function memberAt(name: string, address: string): DatabaseMember {
  return { id: name, name, peerUrls: [`https://${address}:2380`], isLearner: false };
}

/** What is told of a database of these members. */
export function databaseOf(...members: DatabaseMember[]): DatabaseFacts {
  return {
    revision: 1,
    records: 1,
    members,
    clusterVersion: '3.6.0',
    storageVersion: undefined,
    clusterId: undefined,
    bootstrap: new Map(),
    alarms: [],
  };
}
