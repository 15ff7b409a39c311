import type { DatabaseFacts } from './database.ts';

/** The version of etcd that the data are laid out for; undefined before 3.5. */
export function writtenBy({ storageVersion, clusterVersion }: DatabaseFacts): string | undefined {
  return storageVersion ?? clusterVersion;
}

/** Whether a version belongs to a later minor release than another one. */
export function isNewer(version: string, than: string): boolean {
  return minorOf(version) > minorOf(than);
}

function minorOf(version: string): number {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major * 1000 + minor;
}
