import { join } from 'node:path';
import { SnapshotError } from '../errors.ts';
import { buildSnapshotName } from '../snapshot/naming.ts';
import { parseBoolean, parseDuration } from './duration.ts';
import { type Given, type ParsedFlags, type Problem, valueProblem } from './flags.ts';
import { type OptionKey, options } from './options.ts';
import {
  type Config,
  type Distribution,
  type EtcdSettings,
  type OutputFormat,
  Redacted,
  type S3Settings,
} from './types.ts';

/** What the resolution knows of the machine; passed in, so that it can be tested without one. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly hostname: string;
  exists(path: string): boolean;
}

interface Paths {
  readonly dataDir: string;
  readonly snapshotDir: string | undefined;
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly kubeconfig: string | undefined;
  readonly token: string | undefined;
}

const distributions: readonly Distribution[] = ['k3s', 'rke2', 'kubeadm', 'custom'];
const outputs: readonly OutputFormat[] = ['table', 'json', 'yaml'];

/**
 * Flags over environment over defaults, checked as a whole.
 * @throws SnapshotError `usage` whose `why` lists every problem, a line each
 */
export function resolveConfig(command: 'save' | 'ls', flags: ParsedFlags, around: Surroundings): Config {
  const problems: Problem[] = [...flags.problems];
  const given = withEnvironment(command, flags.given, around, problems);
  for (const option of options) {
    if (flags.given[option.key] !== undefined && !option.commands.includes(command)) {
      problems.push({ what: `--${option.flag} has no meaning for ${command}`, cure: 'leave it out' });
    }
  }
  for (const word of flags.words.slice(1)) {
    problems.push({
      what: `${JSON.stringify(word)} is one word too many`,
      cure: `${command} takes only flags`,
    });
  }
  const distribution = oneOf('distribution', distributions, given.distribution, detect(around), problems);
  const paths = pathsOf(distribution, given.dataDir);
  const nodeName = given.nodeName ?? around.hostname.toLowerCase();
  const snapshotName = given.name ?? 'on-demand';
  const compress = isTrue(given.compress);
  checkName(snapshotName, nodeName, compress, problems);
  const snapshotDir = given.dir ?? paths.snapshotDir;
  if (snapshotDir === undefined) {
    problems.push({
      what: `--dir is missing: ${distribution} has no snapshot folder of its own`,
      cure: 'give --dir',
    });
  }
  const config: Config = {
    distribution,
    nodeName,
    dataDir: paths.dataDir,
    snapshotDir: snapshotDir ?? '',
    snapshotDirIsDefault: given.dir === undefined,
    snapshotName,
    compress,
    etcd: etcdSettings(given, paths),
    s3: s3Settings(given, flags.given, problems),
    kubeconfig:
      given.kubeconfig ??
      (paths.kubeconfig !== undefined && around.exists(paths.kubeconfig) ? paths.kubeconfig : undefined),
    tokenFile: paths.token,
    output: oneOf('output', outputs, given.output, 'table', problems),
    debug: isTrue(given.debug),
  };
  if (problems.length > 0) throw usage(problems);
  return config;
}

/** One error for all problems, so that nobody has to find them one by one. */
export function usage(problems: readonly Problem[]): SnapshotError {
  const many = problems.length > 1;
  return new SnapshotError(
    'usage',
    many ? `${problems.length} things are wrong with the command line` : (problems[0]?.what ?? ''),
    {
      ...(many ? { why: problems.map(({ what, cure }) => `\n  - ${what}: ${cure}`).join('') } : {}),
      hint: many ? 'Correct them, or see --help.' : `${problems[0]?.cure ?? ''}.`,
    },
  );
}

function withEnvironment(command: string, flags: Given, around: Surroundings, problems: Problem[]): Given {
  const given: Given = { ...flags };
  for (const option of options) {
    if (given[option.key] !== undefined || !option.commands.some((one) => one === command)) continue;
    const name = option.env?.find((variable) => (around.env[variable] ?? '') !== '');
    const value = name === undefined ? undefined : around.env[name];
    if (name === undefined || value === undefined) continue;
    const problem = valueProblem(option, name, value);
    if (problem === undefined) given[option.key] = value;
    else problems.push(problem);
  }
  return given;
}

function checkName(base: string, nodeName: string, compressed: boolean, problems: Problem[]): void {
  try {
    buildSnapshotName({ base, nodeName, createdAt: new Date(0), compressed });
  } catch (error) {
    if (!(error instanceof SnapshotError)) throw error;
    problems.push({
      what: `--name ${JSON.stringify(base.slice(0, 60))}: ${error.why}`,
      cure: 'choose a plain file name',
    });
  }
  if (base === '') problems.push({ what: '--name is empty', cure: 'leave it out for on-demand' });
}

function detect(around: Surroundings): Distribution {
  if (around.exists('/var/lib/rancher/k3s/server')) return 'k3s';
  if (around.exists('/var/lib/rancher/rke2/server')) return 'rke2';
  if (around.exists('/etc/kubernetes/pki/etcd')) return 'kubeadm';
  return 'custom';
}

function pathsOf(distribution: Distribution, dataDir: string | undefined): Paths {
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

function etcdSettings(given: Given, paths: Paths): EtcdSettings {
  return {
    endpoints: (given.etcdServers ?? 'https://127.0.0.1:2379').split(',').map((endpoint) => endpoint.trim()),
    caFile: given.etcdCaFile ?? paths.ca,
    certFile: given.etcdCertFile ?? paths.cert,
    keyFile: given.etcdKeyFile ?? paths.key,
  };
}

function s3Settings(given: Given, flags: Given, problems: Problem[]): S3Settings | undefined {
  if (!isTrue(given.s3)) {
    const idle = options.filter(
      (option) => option.section === 'S3' && option.key !== 's3' && flags[option.key] !== undefined,
    );
    for (const option of idle)
      problems.push({ what: `--${option.flag} is given, but S3 is off`, cure: 'add --s3' });
    return undefined;
  }
  const required = (key: OptionKey): string => {
    const option = options.find((row) => row.key === key);
    if ((given[key] ?? '') === '') {
      const variable = option?.env?.[0];
      const cure =
        variable === undefined ? `give --${option?.flag}` : `set ${variable}, or give --${option?.flag}`;
      problems.push({ what: `--${option?.flag} is missing, and --s3 needs it`, cure });
    }
    return given[key] ?? '';
  };
  const insecure = isTrue(given.s3Insecure);
  return {
    endpoint: endpointOf(given.s3Endpoint ?? '', insecure, problems),
    endpointCA: given.s3EndpointCA ?? '',
    skipSSLVerify: isTrue(given.s3SkipSSLVerify),
    insecure,
    accessKey: new Redacted(required('s3AccessKey')),
    secretKey: new Redacted(required('s3SecretKey')),
    bucket: required('s3Bucket'),
    region: given.s3Region ?? 'us-east-1',
    folder: (given.s3Folder ?? '')
      .split('/')
      .filter((part) => part !== '')
      .join('/'),
    timeoutMs: parseDuration(given.s3Timeout ?? '5m0s') ?? 300_000,
  };
}

/** Takes a scheme in front, as people paste it, unless it contradicts the settings. */
function endpointOf(endpoint: string, insecure: boolean, problems: Problem[]): string {
  if (endpoint === '') return 's3.amazonaws.com';
  const [, scheme, rest = ''] = /^(?:(https?):\/\/)?(.*?)\/?$/.exec(endpoint) ?? [];
  if (scheme === 'http' && !insecure) {
    problems.push({
      what: `--s3-endpoint ${endpoint} says http, the settings say https`,
      cure: 'add --s3-insecure, or leave the scheme out',
    });
  }
  if (scheme === 'https' && insecure) {
    problems.push({
      what: `--s3-endpoint ${endpoint} says https, --s3-insecure says http`,
      cure: 'leave one of them out',
    });
  }
  if (!/^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?$/.test(rest)) {
    problems.push({
      what: `--s3-endpoint: ${JSON.stringify(endpoint)} is no server`,
      cure: 'give host or host:port',
    });
  }
  return rest;
}

function oneOf<T extends string>(
  flag: string,
  choices: readonly T[],
  value: string | undefined,
  fallback: T,
  problems: Problem[],
): T {
  if (value === undefined) return fallback;
  const chosen = choices.find((choice) => choice === value);
  if (chosen === undefined) {
    problems.push({
      what: `--${flag}: ${JSON.stringify(value)} is not one of ${choices.join(', ')}`,
      cure: 'choose one',
    });
  }
  return chosen ?? fallback;
}

function isTrue(value: string | undefined): boolean {
  return value !== undefined && parseBoolean(value) === true;
}
