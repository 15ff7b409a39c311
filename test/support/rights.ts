import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';

/**
 * A verb on a resource, as `verb group/resource/name in namespace`; the namespace is `*` for a ClusterRole, and the name is
 * `*` where every object is meant.
 */
export type Right = string;

/** Of these nobody knows the names beforehand: each right is for all of them. */
const OF_MANY_NAMES = new Set(['etcdsnapshotfiles', 'nodes', 'events']);

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

interface Role {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly rules?: readonly Rule[];
}

export function deployedRights(): Promise<string> {
  return readFile(fileURLToPath(new URL('../../deploy/rbac.yaml', import.meta.url)), 'utf8');
}

/** What roles grant. Objects of RKE2 count as those of K3s, whose names differ in their beginning only. @param text YAML */
export function grantedRights(text: string): ReadonlySet<Right> {
  const roles = parseAllDocuments(text).map((document) => document.toJS() as Role);
  return new Set(
    roles.flatMap(({ metadata, rules = [] }) =>
      rules.flatMap(({ apiGroups, resources, resourceNames = ['*'], verbs }) =>
        apiGroups.flatMap((group) =>
          resources.flatMap((resource) =>
            resourceNames.flatMap((name) =>
              verbs.map((verb) =>
                right(
                  verb,
                  group,
                  `${resource}/${name.replace(/^rke2-/, 'k3s-')}`,
                  metadata.namespace ?? '*',
                ),
              ),
            ),
          ),
        ),
      ),
    ),
  );
}

interface AuditLine {
  readonly verb: string;
  readonly user: { readonly username: string };
  readonly objectRef?: {
    readonly apiGroup?: string;
    readonly resource: string;
    readonly namespace?: string;
    readonly name?: string;
  };
  readonly responseStatus?: { readonly code?: number };
}

export interface UsedRights {
  readonly granted: ReadonlySet<Right>;
  /** Answered with 403. */
  readonly refused: ReadonlySet<Right>;
}

/** What a user asked the API server for, by its audit log. A namespace that is read by its name is cluster-wide. */
export async function usedRights(auditLog: string, user: string): Promise<UsedRights> {
  const granted = new Set<Right>();
  const refused = new Set<Right>();
  for (const line of (await readFile(auditLog, 'utf8')).split('\n')) {
    if (line === '') continue;
    const { verb, user: who, objectRef, responseStatus }: AuditLine = JSON.parse(line);
    if (who.username !== user || objectRef === undefined) continue;
    const { apiGroup = '', resource, namespace } = objectRef;
    // A name cannot be asked for when an object is made.
    const name = OF_MANY_NAMES.has(resource) || verb === 'create' ? '*' : (objectRef.name ?? '*');
    const place = namespace === undefined || resource === 'namespaces' ? '*' : namespace;
    (responseStatus?.code === 403 ? refused : granted).add(
      right(verb, apiGroup, `${resource}/${name}`, place),
    );
  }
  return { granted, refused };
}

function right(verb: string, group: string, resource: string, namespace: string): Right {
  return `${verb} ${group}/${resource} in ${namespace}`;
}
