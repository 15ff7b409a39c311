import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { type FaultFront, startFaultFront } from './fault-front.ts';

export interface KubeFront extends FaultFront {
  /** Kubeconfig that leads through the front. */
  readonly kubeconfig: string;
}

interface Kubeconfig {
  readonly clusters: readonly [
    { readonly cluster: { readonly server: string; 'certificate-authority': string } },
  ];
  readonly users: readonly [{ readonly user: User }];
}

type User =
  | { readonly token: string }
  | { readonly 'client-certificate': string; readonly 'client-key': string };

/**
 * A front before the API server, with the rights of the kubeconfig: its client certificate, or the token, which the client sends itself.
 * @param kubeconfig as the test bed writes it @param dir where the kubeconfig that leads through the front is written
 */
export async function startKubeFront(kubeconfig: string, dir: string): Promise<KubeFront> {
  const config: Kubeconfig = parse(await readFile(kubeconfig, 'utf8'));
  const [{ cluster }] = config.clusters;
  const [{ user }] = config.users;
  const ca = await readFile(cluster['certificate-authority'], 'utf8');
  const pair =
    'token' in user
      ? {}
      : {
          cert: await readFile(user['client-certificate'], 'utf8'),
          key: await readFile(user['client-key'], 'utf8'),
        };
  const front = await startFaultFront(cluster.server, { ca, ...pair });
  const path = join(dir, 'kubeconfig-of-front');
  const through = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'front',
    // Plain http is taken only together with the word that nothing is verified.
    clusters: [{ name: 'front', cluster: { server: front.url, 'insecure-skip-tls-verify': true } }],
    users: [{ name: 'front', user: 'token' in user ? user : {} }],
    contexts: [{ name: 'front', context: { cluster: 'front', user: 'front' } }],
  };
  await writeFile(path, stringify(through), { mode: 0o600 });
  return { ...front, kubeconfig: path };
}
