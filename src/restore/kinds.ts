import type { TemporaryEtcd } from './ports.ts';

const ROOT = '/registry/';
const SERVICES = 'services/';

/** Where it is not the name of the resource that stands in the key. */
const RENAMED: Readonly<Record<string, string>> = {
  minions: 'nodes',
  'services/specs': 'services',
  'services/endpoints': 'endpoints',
  controllers: 'replicationcontrollers',
};

/**
 * How many objects of each resource of Kubernetes there are, the most frequent first. Only the first key of each resource is
 * looked at; etcd counts the others.
 */
export async function countKinds(
  etcd: Pick<TemporaryEtcd, 'count' | 'firstKey'>,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, number>> {
  const counts: [string, number][] = [];
  const end = behind(ROOT);
  for (let from = ROOT; ; ) {
    const key = await etcd.firstKey(from, end, signal);
    if (key === undefined) break;
    const prefix = prefixOf(key);
    const to = behind(prefix);
    const name = prefix.slice(ROOT.length).replace(/\/$/, '');
    counts.push([resourceOf(name), await etcd.count(prefix, to, signal)]);
    from = to;
  }
  return new Map(counts.sort(([aName, a], [bName, b]) => b - a || aName.localeCompare(bName)));
}

/** `/registry/pods/`, but `/registry/<group>/<resource>/` for a group, which has a dot in it. */
function prefixOf(key: string): string {
  const [first = '', second] = key.slice(ROOT.length).split('/');
  const two = (first.includes('.') || `${first}/` === SERVICES) && second !== undefined;
  const name = two ? `${first}/${second}` : first;
  const prefix = `${ROOT}${name}/`;
  return key.startsWith(prefix) ? prefix : key;
}

/** `widgets.example.com` for `example.com/widgets`. */
function resourceOf(name: string): string {
  const renamed = RENAMED[name];
  if (renamed !== undefined) return renamed;
  const [group, resource] = name.split('/');
  return resource === undefined ? name : `${resource}.${group}`;
}

/** The first key that does not begin with `prefix`; of a key that stands for itself, the next one. */
function behind(prefix: string): string {
  return prefix.endsWith('/') ? `${prefix.slice(0, -1)}0` : `${prefix}\0`;
}
