import { readFile, writeFile } from 'node:fs/promises';
import { vi } from 'vitest';
import { parse, stringify } from 'yaml';
import type { ETCDSnapshotFile } from '../../src/crds/etcd-snapshot-file.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { type Reflector, type ReflectorOptions, startReflector } from '../../src/kube/reflector.ts';
import { systemTimers } from '../../src/timers.ts';
import type { ControlPlane } from './control-plane.ts';

export const COLLECTION = '/apis/k3s.cattle.io/v1/etcdsnapshotfiles';
/** Of the tests' own; each uses a value of its own, so that they can share a control plane. */
const LABEL = 'test';

export const until = (check: () => unknown) => vi.waitFor(check, { timeout: 60_000, interval: 20 });

export function recordOf(name: string, label: string, note = ''): ETCDSnapshotFile {
  return {
    apiVersion: 'k3s.cattle.io/v1',
    kind: 'ETCDSnapshotFile',
    metadata: { name, labels: { [LABEL]: label } },
    spec: { snapshotName: name, nodeName: 'n1', location: `file:///snapshots/${name}`, metadata: { note } },
  };
}

/** Asks again while the API server is not ready for a new resource: it says 429 for some seconds. */
export async function readyFor(client: KubeClient): Promise<void> {
  const signal = AbortSignal.timeout(60_000);
  await until(() => client.request({ method: 'GET', path: COLLECTION, query: { limit: '1' }, signal }));
}

export interface Followed extends AsyncDisposable {
  readonly reflector: Reflector<string>;
  readonly stop: AbortController;
  /** `name:now<before`, where now and before are the notes of the records. */
  readonly changes: string[];
  /** `synced`, and the code of the error. */
  readonly states: string[];
}

/** Follows the records with that label on real time; the cache keeps their notes. */
export function follow(
  client: Pick<KubeClient, 'request' | 'watch'>,
  label: string,
  options: Partial<ReflectorOptions<ETCDSnapshotFile, string>> = {},
): Followed {
  const stop = new AbortController();
  const changes: string[] = [];
  const states: string[] = [];
  const reflector = startReflector<ETCDSnapshotFile, string>({
    client,
    path: COLLECTION,
    labelSelector: `${LABEL}=${label}`,
    transform: (file) => file.spec.metadata?.['note'] ?? '',
    timers: systemTimers,
    random: Math.random,
    onChange: (name, now, before) => changes.push(`${name}:${now}<${before}`),
    onState: ({ synced, error }) => states.push([synced ? 'synced' : '', error?.code ?? ''].join(' ').trim()),
    signal: stop.signal,
    ...options,
  });
  return {
    reflector,
    stop,
    changes,
    states,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await reflector.stopped;
    },
  };
}

/** A kubeconfig of that ServiceAccount, which may do everything, for a front that speaks no TLS. */
export async function kubeconfigVia(cluster: ControlPlane, url: string, account: string): Promise<string> {
  const file = await cluster.serviceAccountKubeconfig('default', account);
  const config = parse(await readFile(file, 'utf8'));
  config.clusters[0].cluster = { server: url, 'insecure-skip-tls-verify': true };
  await writeFile(file, stringify(config));
  await cluster.kubectl([
    'create',
    'clusterrolebinding',
    account,
    '--clusterrole=cluster-admin',
    `--serviceaccount=default:${account}`,
  ]);
  return file;
}
