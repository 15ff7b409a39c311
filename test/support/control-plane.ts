import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { get } from 'node:https';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { toolPath } from '../tools/toolbox.ts';
import { type Authority, certificateAuthority, type Pair } from './certificates.ts';
import { type EtcdCluster, startEtcd } from './etcd-server.ts';
import { freePorts, type Server, startServer } from './processes.ts';
import { scratchDir } from './scratch.ts';

const definitions = fileURLToPath(new URL('../../deploy/crds/', import.meta.url));

const AUDIT_POLICY = {
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  omitStages: ['RequestReceived'],
  rules: [{ level: 'Metadata' }],
};

export interface KubectlResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ControlPlane extends AsyncDisposable {
  /** Of an administrator (group system:masters). */
  readonly kubeconfig: string;
  readonly url: string;
  readonly caFile: string;
  readonly etcd: EtcdCluster;
  kubectl(args: readonly string[], kubeconfig?: string): Promise<KubectlResult>;
  /** A kubeconfig with a token of that ServiceAccount, which is made when it is missing. */
  serviceAccountKubeconfig(namespace: string, name: string): Promise<string>;
  /** The same kubeconfig with another server address, for fronts. */
  kubeconfigVia(url: string): Promise<string>;
  /** JSON lines, one per answered request; empty unless it was asked for. */
  readonly auditLog: string;
  kill(signal: NodeJS.Signals): void;
  /** Ends the API server and starts it again on the same port and etcd. */
  restart(): Promise<void>;
}

export interface ControlPlaneOptions {
  /** Default false: keep a log of who asked for what, see `auditLog`. */
  readonly audit?: boolean;
  /** Default true: apply `deploy/crds/`. */
  readonly crds?: boolean;
  /** Of etcd; one unless given. */
  readonly members?: 1 | 3;
}

/** etcd and kube-apiserver on loopback: TLS, client certificates, RBAC. */
export async function startControlPlane(options: ControlPlaneOptions = {}): Promise<ControlPlane> {
  const scratch = await scratchDir('kube-');
  const etcd = await startEtcd({ members: options.members ?? 1 });
  const ca = await certificateAuthority(scratch.path, 'kubernetes');
  const serving = await ca.issue('kube-apiserver', {
    hosts: ['localhost', '127.0.0.1', '10.0.0.1', 'kubernetes', 'kubernetes.default'],
  });
  const admin = await ca.issue('admin', { client: true, organization: 'system:masters' });
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const signingKey = join(scratch.path, 'service-account.key');
  await writeFile(signingKey, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  const [port] = await freePorts(1);
  const url = `https://127.0.0.1:${port}`;
  const apiServer = await toolPath('kube-apiserver');
  const policy = join(scratch.path, 'audit-policy.yaml');
  const auditLog = join(scratch.path, 'audit.log');
  await writeFile(policy, stringify(AUDIT_POLICY));
  const start = (): Promise<Server> =>
    startServer({
      name: 'kube-apiserver',
      command: apiServer,
      args: [
        ...apiServerFlags(etcd, ca, serving, signingKey, port ?? 0),
        ...(options.audit === true ? [`--audit-policy-file=${policy}`, `--audit-log-path=${auditLog}`] : []),
      ],
      logFile: join(scratch.path, 'kube-apiserver.log'),
      ready: () => isReady(url, ca, admin),
    });
  let server = await start();

  const kubectlPath = await toolPath('kubectl');
  let written = 0;
  const write = async (server_: string, user: object): Promise<string> => {
    written += 1;
    const file = join(scratch.path, `kubeconfig-${written}`);
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'test',
      clusters: [{ name: 'test', cluster: { server: server_, 'certificate-authority': ca.caFile } }],
      users: [{ name: 'test', user }],
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
    };
    await writeFile(file, stringify(config), { mode: 0o600 });
    return file;
  };
  const adminUser = { 'client-certificate': admin.certFile, 'client-key': admin.keyFile };
  const kubeconfig = await write(url, adminUser);
  const kubectl = (args: readonly string[], as = kubeconfig) =>
    run(kubectlPath, ['--kubeconfig', as, ...args]);
  const plane: ControlPlane = {
    kubeconfig,
    url,
    caFile: ca.caFile,
    etcd,
    auditLog,
    kubectl,
    async serviceAccountKubeconfig(namespace, name) {
      await kubectl(['create', 'serviceaccount', name, '-n', namespace]);
      const token = await kubectl(['create', 'token', name, '-n', namespace]);
      if (token.code !== 0) throw new Error(`no token for ${namespace}/${name}: ${token.stderr}`);
      return write(url, { token: token.stdout.trim() });
    },
    kubeconfigVia: (other) => write(other, adminUser),
    kill: (signal) => server.kill(signal),
    async restart() {
      await server[Symbol.asyncDispose]();
      server = await start();
    },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await etcd[Symbol.asyncDispose]();
      await scratch[Symbol.asyncDispose]();
    },
  };
  if (options.crds ?? true) await applyDefinitions(plane);
  return plane;
}

async function applyDefinitions(plane: ControlPlane): Promise<void> {
  for (const args of [
    ['apply', '-f', definitions],
    ['wait', '--for=condition=Established', '--timeout=60s', 'crd', '--all'],
  ]) {
    const result = await plane.kubectl(args);
    if (result.code !== 0) throw new Error(`kubectl ${args.join(' ')} failed:\n${result.stderr}`);
  }
}

function apiServerFlags(
  etcd: EtcdCluster,
  ca: Authority,
  serving: Pair,
  signingKey: string,
  port: number,
): string[] {
  const client = etcd.settings();
  return [
    `--etcd-servers=${etcd.endpoints.join(',')}`,
    `--etcd-cafile=${client.caFile ?? ''}`,
    `--etcd-certfile=${client.certFile ?? ''}`,
    `--etcd-keyfile=${client.keyFile ?? ''}`,
    `--secure-port=${port}`,
    '--bind-address=127.0.0.1',
    '--advertise-address=127.0.0.1',
    '--endpoint-reconciler-type=none',
    `--tls-cert-file=${serving.certFile}`,
    `--tls-private-key-file=${serving.keyFile}`,
    `--client-ca-file=${ca.caFile}`,
    `--service-account-key-file=${signingKey}`,
    `--service-account-signing-key-file=${signingKey}`,
    '--service-account-issuer=https://kubernetes.default.svc',
    '--authorization-mode=Node,RBAC',
    '--service-cluster-ip-range=10.0.0.0/24',
  ];
}

/** /readyz, and kube-system, which the server makes for itself a moment later. */
async function isReady(url: string, ca: Authority, admin: Pair): Promise<boolean> {
  const answers = await Promise.all(
    ['/readyz', '/api/v1/namespaces/kube-system'].map(
      (path) =>
        new Promise<boolean>((resolve) => {
          const request = get(
            `${url}${path}`,
            { ca: ca.pem, cert: admin.cert, key: admin.key, timeout: 2_000 },
            (answer) => {
              answer.resume();
              resolve(answer.statusCode === 200);
            },
          );
          request.once('timeout', () => request.destroy());
          request.once('error', () => resolve(false));
        }),
    ),
  );
  return answers.every(Boolean);
}

function run(command: string, args: readonly string[]): Promise<KubectlResult> {
  return new Promise((resolve) => {
    execFile(command, args, { timeout: 60_000 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : Number(error.code ?? 1);
      resolve({ code, stdout, stderr });
    });
  });
}
