import type { Program, SnapshotFacts } from '../snapshot/snapshot.ts';

const PROGRAMS: readonly Program[] = ['k3s', 'rke2'];
/** Header values are ASCII; what is not would break the request, and is better left out. */
const HEADER_VALUE = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/;

/** User metadata of a snapshot object and its sidecar: k3s's `<program>-cluster-id`, `-node-name` and `-token-hash`. */
export function toUserMetadata(
  program: Program,
  nodeName: string,
  facts: SnapshotFacts,
): Record<string, string> {
  const all = {
    [`${program}-cluster-id`]: facts.clusterId,
    [`${program}-node-name`]: nodeName,
    [`${program}-token-hash`]: facts.tokenHash,
  };
  return Object.fromEntries(
    Object.entries(all).flatMap(([key, value]) =>
      value !== undefined && HEADER_VALUE.test(value) ? [[key, value] as const] : [],
    ),
  );
}

/** Reads it back, of either program and however the server spells the keys. */
export function fromUserMetadata(metadata: Readonly<Record<string, string>> | undefined): {
  readonly nodeName: string | undefined;
  readonly facts: Pick<SnapshotFacts, 'clusterId' | 'tokenHash'>;
} {
  const byKey = new Map(Object.entries(metadata ?? {}).map(([key, value]) => [key.toLowerCase(), value]));
  const find = (what: string) =>
    PROGRAMS.map((program) => byKey.get(`${program}-${what}`)).find(
      (value) => value !== undefined && value !== '',
    );
  const clusterId = find('cluster-id');
  const tokenHash = find('token-hash');
  return {
    nodeName: find('node-name'),
    facts: {
      ...(clusterId === undefined ? {} : { clusterId }),
      ...(tokenHash === undefined ? {} : { tokenHash }),
    },
  };
}

/** A sidecar's JSON object of strings, or undefined when it is something else. */
export function parseSidecar(text: string): Readonly<Record<string, string>> | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  const entries = Object.entries(value).filter(
    (entry): entry is [string, string] => typeof entry[1] === 'string',
  );
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}
