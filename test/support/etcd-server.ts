import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { AlarmAction, AlarmType, Etcd3 } from 'etcd3';
import type { EtcdSettings } from '../../src/config/types.ts';
import { createEtcdSource } from '../../src/etcd/snapshot-source.ts';
import { toolPath } from '../tools/toolbox.ts';
import { type Authority, certificateAuthority, type Pair } from './certificates.ts';
import { kubernetesLikeValues } from './filling.ts';
import { freePorts, type Server, sleep, startServer } from './processes.ts';
import { scratchDir } from './scratch.ts';

const run = promisify(execFile);

export interface EtcdOptions {
  readonly version?: '3.5' | '3.6';
  readonly members?: 1 | 3;
  /** Default true: https, and clients must show a certificate. */
  readonly tls?: boolean;
  readonly quotaBytes?: number;
  /** A folder to start from, as `etcdutl snapshot restore` leaves it; one member, called m0. */
  readonly dataDir?: string;
}

export interface EtcdMember {
  readonly name: string;
  readonly pid: number;
  readonly endpoint: string;
  readonly peerUrl: string;
  readonly dataDir: string;
  kill(signal: NodeJS.Signals): void;
  /** Starts it again, after it was killed, with what it has on disk. @param among names of the members that there are; all */
  restart(among?: readonly string[]): Promise<void>;
}

export interface EtcdCluster extends AsyncDisposable {
  readonly endpoints: readonly string[];
  readonly ca: Authority;
  readonly members: readonly EtcdMember[];
  settings(): EtcdSettings;
  put(entries: Iterable<readonly [string, string | Buffer]>): Promise<void>;
  get(key: string): Promise<Buffer | null>;
  /** Grows the database by about so many bytes of values that compress by about a half, as objects of Kubernetes do. */
  fill(bytes: number): Promise<void>;
  /** Forgets all changes up to now. */
  compact(): Promise<void>;
  /** Has the first member raise this alarm, as etcd does when it finds the trouble itself. */
  raiseAlarm(alarm: 'NOSPACE' | 'CORRUPT'): Promise<void>;
  /** Starts one more member that does not vote; returns its endpoint. */
  addLearner(): Promise<string>;
}

interface MemberPlan {
  readonly name: string;
  readonly clientUrl: string;
  readonly peerUrl: string;
  readonly dataDir: string;
}

/** etcd on loopback, in a folder of its own. */
export async function startEtcd(options: EtcdOptions = {}): Promise<EtcdCluster> {
  const scratch = await scratchDir('etcd-');
  const tls = options.tls ?? true;
  const ca = await certificateAuthority(scratch.path, 'etcd');
  const server = await ca.issue('etcd', { client: true });
  const client = await ca.issue('root', { client: true });
  const settings = (endpoints: readonly string[]): EtcdSettings => ({
    endpoints,
    caFile: tls ? ca.caFile : undefined,
    certFile: tls ? client.certFile : undefined,
    keyFile: tls ? client.keyFile : undefined,
  });
  const binary = await toolPath(options.version === '3.5' ? 'etcd35' : 'etcd');
  const plan = async (name: string): Promise<MemberPlan> => {
    const [clientPort, peerPort] = await freePorts(2);
    const scheme = tls ? 'https' : 'http';
    const dataDir = options.dataDir ?? join(scratch.path, name);
    return {
      name,
      dataDir,
      clientUrl: `${scheme}://127.0.0.1:${clientPort}`,
      peerUrl: `${scheme}://127.0.0.1:${peerPort}`,
    };
  };
  const start = async (member: MemberPlan, cluster: readonly MemberPlan[], state: 'new' | 'existing') => {
    await mkdir(member.dataDir, { recursive: true, mode: 0o700 });
    return startServer({
      name: `etcd ${member.name}`,
      command: binary,
      args: [
        ...memberFlags(member, cluster, state, options.quotaBytes),
        ...(tls ? tlsFlags(ca, server) : []),
      ],
      logFile: join(scratch.path, `${member.name}.log`),
      ready: () => answers(settings([member.clientUrl]), state === 'new'),
    });
  };

  const plans: MemberPlan[] = [];
  for (let at = 0; at < (options.members ?? 1); at += 1) plans.push(await plan(`m${at}`));
  const servers: Server[] = await Promise.all(plans.map((member) => start(member, plans, 'new')));
  const endpoints = plans.map((member) => member.clientUrl);
  const etcd3 = new Etcd3({
    hosts: [...endpoints],
    ...(tls
      ? {
          credentials: {
            rootCertificate: Buffer.from(ca.pem),
            certChain: Buffer.from(client.cert),
            privateKey: Buffer.from(client.key),
          },
        }
      : {}),
    grpcOptions: { 'grpc.enable_http_proxy': 0 },
  });
  const put = async (key: string, value: string | Buffer): Promise<void> => {
    await etcd3.put(key).value(value);
  };
  return {
    endpoints,
    ca,
    members: plans.map((member, at) => ({
      name: member.name,
      endpoint: member.clientUrl,
      peerUrl: member.peerUrl,
      dataDir: member.dataDir,
      pid: servers[at]?.pid ?? -1,
      kill: (signal) => servers[at]?.kill(signal),
      async restart(among) {
        await servers[at]?.[Symbol.asyncDispose]();
        const cluster = plans.filter(({ name }) => among?.includes(name) ?? true);
        servers[at] = await start(member, cluster, 'existing');
      },
    })),
    settings: () => settings(endpoints),
    async put(entries) {
      for (const [key, value] of entries) await put(key, value);
    },
    get: (key) => etcd3.get(key).buffer(),
    fill: (bytes) => fill(put, bytes),
    async raiseAlarm(alarm) {
      const { header } = await etcd3.maintenance.status();
      await etcd3.maintenance.alarm({
        action: AlarmAction.Activate,
        memberID: header.member_id,
        alarm: AlarmType[alarm === 'CORRUPT' ? 'Corrupt' : 'Nospace'],
      });
    },
    async compact() {
      const { header } = await etcd3.kv.range({ key: Buffer.from('now') });
      await etcd3.kv.compact({ revision: header.revision, physical: true });
    },
    async addLearner() {
      const member = await plan('learner');
      await addLearnerMember(settings(endpoints), member.peerUrl);
      servers.push(await start(member, [...plans, member], 'existing'));
      return member.clientUrl;
    },
    async [Symbol.asyncDispose]() {
      etcd3.close();
      await Promise.all(servers.map((one) => one[Symbol.asyncDispose]()));
      await scratch[Symbol.asyncDispose]();
    },
  };
}

function memberFlags(
  member: MemberPlan,
  cluster: readonly MemberPlan[],
  state: 'new' | 'existing',
  quotaBytes = 2 * 1024 ** 3,
): string[] {
  return [
    `--name=${member.name}`,
    `--data-dir=${member.dataDir}`,
    `--listen-client-urls=${member.clientUrl}`,
    `--advertise-client-urls=${member.clientUrl}`,
    `--listen-peer-urls=${member.peerUrl}`,
    `--initial-advertise-peer-urls=${member.peerUrl}`,
    `--initial-cluster=${cluster.map((one) => `${one.name}=${one.peerUrl}`).join(',')}`,
    `--initial-cluster-state=${state}`,
    `--quota-backend-bytes=${quotaBytes}`,
    '--max-request-bytes=4194304',
    '--unsafe-no-fsync',
    '--logger=zap',
  ];
}

function tlsFlags(ca: Authority, pair: Pair): string[] {
  return [
    `--cert-file=${pair.certFile}`,
    `--key-file=${pair.keyFile}`,
    `--trusted-ca-file=${ca.caFile}`,
    '--client-cert-auth',
    `--peer-cert-file=${pair.certFile}`,
    `--peer-key-file=${pair.keyFile}`,
    `--peer-trusted-ca-file=${ca.caFile}`,
    '--peer-client-cert-auth',
  ];
}

/** Ready: answers, and (but for a learner) knows its leader. */
async function answers(settings: EtcdSettings, needsLeader: boolean): Promise<boolean> {
  const source = createEtcdSource(settings, { now: () => new Date() });
  try {
    const status = await source.status(AbortSignal.timeout(2_000));
    return !needsLeader || status.leaderId !== '0';
  } catch {
    await sleep(50);
    return false;
  } finally {
    source.close();
  }
}

/** Young clusters of several refuse at first: their members must have been connected for five seconds. */
async function addLearnerMember(settings: EtcdSettings, peerUrl: string): Promise<void> {
  const etcdctl = await toolPath('etcdctl');
  const { endpoints, caFile, certFile, keyFile } = settings;
  const tls = caFile === undefined ? [] : [`--cacert=${caFile}`, `--cert=${certFile}`, `--key=${keyFile}`];
  const args = ['member', 'add', 'learner', '--learner', `--peer-urls=${peerUrl}`];
  for (let left = 60; ; left -= 1) {
    try {
      await run(etcdctl, [...args, `--endpoints=${endpoints.join()}`, ...tls]);
      return;
    } catch (error) {
      if (left === 0) throw error;
      await sleep(500);
    }
  }
}

/** Values of 768 KiB, a few under way at a time. */
async function fill(put: (key: string, value: Buffer) => Promise<void>, bytes: number): Promise<void> {
  const valueBytes = 768 * 1024;
  const next = kubernetesLikeValues(valueBytes);
  const count = Math.ceil(bytes / valueBytes);
  let at = 0;
  const worker = async () => {
    while (at < count) {
      const key = `/registry/fill/${String(at).padStart(6, '0')}`;
      at += 1;
      await put(key, next());
    }
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
}
