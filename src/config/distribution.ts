import { join } from 'node:path';
import type { Distribution } from './types.ts';

/** Paths of a distribution; undefined where it has none. */
export interface Paths {
  readonly dataDir: string;
  readonly snapshotDir: string | undefined;
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly kubeconfig: string | undefined;
  readonly token: string | undefined;
}

/** What is installed on this node, told by its folders; `custom` when nothing is recognised. @param dataDir as the user moved it */
export function detectDistribution(
  exists: (path: string) => boolean,
  dataDir: string | undefined,
): Distribution {
  if (dataDir !== undefined && exists(join(dataDir, 'server'))) {
    return exists('/etc/rancher/rke2') ? 'rke2' : 'k3s';
  }
  if (exists('/var/lib/rancher/k3s/server')) return 'k3s';
  if (exists('/var/lib/rancher/rke2/server')) return 'rke2';
  if (exists('/etc/kubernetes/pki/etcd')) return 'kubeadm';
  return 'custom';
}

/** Where a distribution keeps what a snapshot needs. @param dataDir moves K3s and RKE2 */
export function pathsOf(distribution: Distribution, dataDir: string | undefined): Paths {
  if (distribution === 'custom') {
    return {
      dataDir: dataDir ?? '',
      snapshotDir: undefined,
      ca: undefined,
      cert: undefined,
      key: undefined,
      kubeconfig: undefined,
      token: undefined,
    };
  }
  if (distribution === 'kubeadm') {
    const pki = '/etc/kubernetes/pki/etcd';
    return {
      dataDir: dataDir ?? '/var/lib/etcd',
      snapshotDir: '/var/lib/etcd-snapshots',
      ca: `${pki}/ca.crt`,
      cert: `${pki}/healthcheck-client.crt`,
      key: `${pki}/healthcheck-client.key`,
      kubeconfig: '/etc/kubernetes/admin.conf',
      token: undefined,
    };
  }
  const root = dataDir ?? `/var/lib/rancher/${distribution}`;
  const tls = join(root, 'server/tls/etcd');
  return {
    dataDir: root,
    snapshotDir: join(root, 'server/db/snapshots'),
    ca: join(tls, 'server-ca.crt'),
    cert: join(tls, 'client.crt'),
    key: join(tls, 'client.key'),
    kubeconfig: `/etc/rancher/${distribution}/${distribution}.yaml`,
    token: join(root, 'server/token'),
  };
}

/**
 * The config file of this node, whether it exists or not. Detected as `detectDistribution` does; where K3s or RKE2 keep their
 * data elsewhere, the file itself says so, and only its folder tells which of them it is.
 */
export function configPathOf(
  distribution: string | undefined,
  dataDir: string | undefined,
  exists: (path: string) => boolean,
): string {
  const ofServer = (name: string) => `/etc/rancher/${name}/config.yaml`;
  const found = distribution ?? detectDistribution(exists, dataDir);
  if (found === 'k3s' || found === 'rke2') return ofServer(found);
  const moved =
    distribution === undefined && found === 'custom'
      ? ['k3s', 'rke2'].map(ofServer).find((path) => exists(path) || exists(`${path}.d`))
      : undefined;
  return moved ?? '/etc/etcd-snapshot/config.yaml';
}
