import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ETCDSnapshotFile } from '../../src/crds/etcd-snapshot-file.ts';
import { isSnapshotError } from '../../src/errors.ts';
import { connect } from '../../src/kube/client.ts';
import type { ControlPlane } from './control-plane.ts';

interface SeenEvent {
  readonly type: string;
  readonly reason: string;
  readonly message: string;
  readonly count: number;
}

/** What an administrator sees of a cluster, and does to it. */
export interface ClusterLooks {
  /** All records, or those whose snapshot has a name that holds this text. */
  records(nameHolds?: string): Promise<readonly ETCDSnapshotFile[]>;
  record(name: string): Promise<ETCDSnapshotFile | undefined>;
  /** Events of the object of that name, the oldest first. */
  events(name: string, namespace?: string): Promise<readonly SeenEvent[]>;
  /** Any object by its path. */
  get<T>(path: string): Promise<T>;
  /** kubectl. @throws Error with what it says */
  run(...args: string[]): Promise<string>;
  /** `kubectl create -f`, or another verb, with this object. */
  put(object: object, ...args: string[]): Promise<void>;
}

const RECORDS = '/apis/k3s.cattle.io/v1/etcdsnapshotfiles';

/** Looks go over a connection, not through kubectl: tests look often, and a process takes longer than what it shows. */
export function lookAt(plane: ControlPlane): ClusterLooks {
  const client = connect(plane.kubeconfig);
  let written = 0;
  const get = async <T>(path: string, query: Readonly<Record<string, string>> = {}): Promise<T> =>
    (await client).request<T>({ method: 'GET', path, query, signal: AbortSignal.timeout(30_000) });
  const run = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await plane.kubectl(args);
    if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
    return stdout;
  };
  return {
    get,
    run,
    async put(object, ...args) {
      written += 1;
      const file = join(plane.etcd.members[0]?.dataDir ?? '', `object-${written}.json`);
      await writeFile(file, JSON.stringify(object));
      await run(...(args.length === 0 ? ['create'] : args), '-f', file);
    },
    async records(nameHolds = '') {
      const { items } = await get<{ items: readonly ETCDSnapshotFile[] }>(RECORDS);
      return items.filter((file) => 'spec' in file && file.spec.snapshotName.includes(nameHolds));
    },
    async record(name) {
      try {
        return await get<ETCDSnapshotFile>(`${RECORDS}/${name}`);
      } catch (error) {
        if (isSnapshotError(error, 'not-found')) return undefined;
        throw error;
      }
    },
    async events(name, namespace = 'default') {
      const { items } = await get<{ items: readonly (SeenEvent & { firstTimestamp: string })[] }>(
        `/api/v1/namespaces/${namespace}/events`,
        { fieldSelector: `involvedObject.name=${name}` },
      );
      return items.toSorted((a, b) => (a.firstTimestamp < b.firstTimestamp ? -1 : 1));
    },
  };
}
