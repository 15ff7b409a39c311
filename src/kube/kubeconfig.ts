import { existsSync } from 'node:fs';
import type { RequestOptions } from 'node:https';
import { KubeConfig } from '@kubernetes/client-node';
import { asError, SnapshotError, systemCode } from '../errors.ts';
import type { TlsMaterial } from './connection-pool.ts';
import { readKubeconfig } from './kubeconfig-files.ts';

const IN_CLUSTER_TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount/token';

export interface Credentials {
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: TlsMaterial;
}

/** The API server that a kubeconfig means, and how to identify to it. */
export interface Access {
  /** URL without a slash at its end. */
  readonly server: string;
  readonly proxyUrl: string | undefined;
  /**
   * Runs credential plugins and reads token and certificate files where the kubeconfig says so.
   * @throws SnapshotError `unauthenticated`
   */
  credentials(): Promise<Credentials>;
  /** The same from the start, without what was remembered of tokens: for when they were refused. */
  renewedCredentials(): Promise<Credentials>;
}

/**
 * Reads the kubeconfig, or without one the ServiceAccount of this pod.
 * @throws SnapshotError `not-found` | `forbidden` | `io` | `usage` when there is no usable configuration
 */
export function loadAccess(kubeconfigPath: string | undefined): Access {
  let config = loadConfig(kubeconfigPath);
  return {
    server: serverOf(config, kubeconfigPath),
    proxyUrl: config.getCurrentCluster()?.proxyUrl,
    credentials: () => credentials(config),
    async renewedCredentials() {
      config = loadConfig(kubeconfigPath);
      return credentials(config);
    },
  };
}

function loadConfig(path: string | undefined): KubeConfig {
  if (path !== undefined) {
    try {
      return readKubeconfig(path);
    } catch (error) {
      throw unreadable(path, asError(error));
    }
  }
  if (process.env['KUBERNETES_SERVICE_HOST'] === undefined || !existsSync(IN_CLUSTER_TOKEN)) {
    throw new SnapshotError('not-found', 'No Kubernetes cluster is configured', {
      why: 'there is no kubeconfig, and this is not a pod with a ServiceAccount',
      hint: 'Name a kubeconfig with --kubeconfig.',
    });
  }
  const config = new KubeConfig();
  config.loadFromCluster();
  return config;
}

function unreadable(path: string, error: Error): SnapshotError {
  const what = `Cannot read the kubeconfig ${path}`;
  switch (systemCode(error)) {
    case undefined:
      return new SnapshotError('usage', what, {
        why: 'it is not a kubeconfig',
        hint: 'Check the file with kubectl config view --kubeconfig.',
        cause: error,
      });
    case 'ENOENT':
      return new SnapshotError('not-found', what, {
        why: 'there is no such file',
        hint: 'Name another one with --kubeconfig.',
        cause: error,
      });
    case 'EACCES':
      return new SnapshotError('forbidden', what, { hint: 'Run as a user who may read it.', cause: error });
    default:
      return new SnapshotError('io', what, { hint: 'Check the path given to --kubeconfig.', cause: error });
  }
}

function serverOf(config: KubeConfig, path: string | undefined): string {
  const cluster = config.getCurrentCluster();
  const wrong = (why: string) =>
    new SnapshotError('usage', `The kubeconfig ${path ?? 'of this pod'} cannot be used`, {
      why,
      hint: 'Check current-context and its cluster with kubectl config view --minify.',
    });
  if (cluster === null) throw wrong('its current context names no cluster');
  if (!URL.canParse(cluster.server)) throw wrong('the server of its cluster is not a URL');
  if (new URL(cluster.server).protocol !== 'https:' && !cluster.skipTLSVerify) {
    throw wrong('the server of its cluster is not https, and insecure-skip-tls-verify is not set');
  }
  return cluster.server.replace(/\/+$/, '');
}

async function credentials(config: KubeConfig): Promise<Credentials> {
  const options: RequestOptions = { headers: {} };
  try {
    await config.applyToHTTPSOptions(options);
  } catch (error) {
    throw new SnapshotError('unauthenticated', 'The credentials of the kubeconfig cannot be had', {
      why: `a file or a credential plugin that it names failed (${systemCode(error) ?? 'no code'})`,
      hint: 'Run kubectl get --raw /version with the same kubeconfig to see its complaint.',
      cause: error,
    });
  }
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.headers ?? {})) headers[name] = String(value).trim();
  if (typeof options.auth === 'string') {
    headers['authorization'] = `Basic ${Buffer.from(options.auth).toString('base64')}`;
  }
  const { ca, cert, key, passphrase, pfx, rejectUnauthorized, servername } = options;
  return { headers, tls: { ca, cert, key, passphrase, pfx, rejectUnauthorized, servername } };
}
