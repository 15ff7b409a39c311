import { SnapshotError } from '../errors.ts';
import { type Given, type Problem, valueProblem } from './flags.ts';
import type { Wording } from './option.ts';
import { certificatesIn, readCertificate } from './pem.ts';
import { s3SecretKeys } from './s3-options.ts';
import { s3RetentionOf, s3SettingsOf } from './s3-settings.ts';
import type { S3Settings } from './types.ts';

/** Of the Secret alone: the name of a ConfigMap beside it that holds CA bundles. */
export const CA_NAME_KEY = 'etcd-s3-endpoint-ca-name';
/** By which people find it. */
export const SECRET_TYPE = 'etcd.k3s.cattle.io/s3-config-secret';
const CA_KEY = 'etcd-s3-endpoint-ca';

/** A Secret of kube-system as the API server gives it: values in base64. */
export interface SecretContent {
  readonly name: string;
  /** As the API server says; undefined: not known. */
  readonly type?: string;
  readonly data: Readonly<Record<string, string>>;
}

/** A ConfigMap of kube-system as the API server gives it. */
export interface ConfigMapContent {
  readonly name: string;
  readonly data: Readonly<Record<string, string>>;
  /** Values in base64. */
  readonly binaryData: Readonly<Record<string, string>>;
}

export interface ParsedS3Secret {
  /** Undefined when something is wrong. */
  readonly settings: S3Settings | undefined;
  readonly retention: number | undefined;
  /** The ConfigMap that the Secret names, whether or not it was given. */
  readonly caConfigMapName: string | undefined;
  /** All that is wrong, by key name; no value is ever in it. */
  readonly problems: readonly Problem[];
  /** What is odd and does no harm by itself. */
  readonly notes: readonly Problem[];
}

const byKey: Wording = {
  name: (key) => [...s3SecretKeys].find(([, option]) => option.key === key)?.[0] ?? key,
  shown: () => '',
};

/**
 * The settings in a Secret `etcd.k3s.cattle.io/s3-config-secret`. Its keys are the flags that `k3s server` knows; a key that
 * is empty counts as missing, and blanks around a value are cut. Another type of Secret does no harm, as in k3s, and is noted.
 * @param caConfigMap what `caConfigMapName` names; undefined: there is none
 */
export function parseS3Secret(
  secret: SecretContent,
  caConfigMap: ConfigMapContent | undefined,
): ParsedS3Secret {
  const problems: Problem[] = [];
  const notes: Problem[] = [];
  const given: Given = {};
  if (secret.type !== undefined && secret.type !== SECRET_TYPE) {
    const what = `Secret kube-system/${secret.name} is of type ${secret.type}, not ${SECRET_TYPE}`;
    notes.push({ what, cure: 'make it anew with that type, or leave it: it is used all the same' });
  }
  let caConfigMapName: string | undefined;
  for (const [key, encoded] of Object.entries(secret.data)) {
    const value = Buffer.from(encoded, 'base64').toString('utf8').trim();
    const option = s3SecretKeys.get(key);
    if (key !== CA_NAME_KEY && option === undefined) {
      notes.push({ what: `Secret kube-system/${secret.name}: ${key} is no setting`, cure: 'remove the key' });
    }
    if (value === '') continue;
    if (key === CA_NAME_KEY) caConfigMapName = value;
    if (option === undefined) continue;
    const problem = valueProblem({ ...option, secret: true }, key, value);
    if (problem === undefined) given[option.key] = value;
    else problems.push(problem);
  }
  const bundles = [
    ...inlineBundles(given.s3EndpointCA ?? '', problems),
    ...bundlesOf(caConfigMapName, caConfigMap, problems, notes),
  ];
  given.s3EndpointCA = bundles.map((bundle) => Buffer.from(bundle).toString('base64')).join(' ');
  const settings = s3SettingsOf(given, byKey, problems);
  return {
    settings: problems.length === 0 ? settings : undefined,
    retention: s3RetentionOf(given),
    caConfigMapName,
    problems,
    notes,
  };
}

/** One error for all that is wrong with a Secret. */
export function unusableSecret(name: string, problems: readonly Problem[]): SnapshotError {
  return new SnapshotError('usage', `Secret kube-system/${name} cannot be used for S3`, {
    why: problems.map(({ what, cure }) => `\n  - ${what}: ${cure}`).join(''),
    hint: `Correct these keys: kubectl -n kube-system edit secret ${name}.`,
  });
}

/** PEM as it is, or base64 of it. A path would mean a file of this machine, which a Secret has no business to name. */
function inlineBundles(value: string, problems: Problem[]): readonly string[] {
  if (value === '') return [];
  const texts = value.includes('-----BEGIN ')
    ? [value]
    : value.split(/\s+/).map((item) => Buffer.from(item, 'base64').toString('latin1'));
  return texts.map((text) => bundleIn(text, CA_KEY, problems));
}

function bundlesOf(
  name: string | undefined,
  configMap: ConfigMapContent | undefined,
  problems: Problem[],
  notes: Problem[],
): readonly string[] {
  if (name === undefined) return [];
  const what = `ConfigMap kube-system/${name}, which ${CA_NAME_KEY} names,`;
  if (configMap === undefined) {
    notes.push({ what: `${what} does not exist`, cure: 'make it, or empty the key' });
    return [];
  }
  const texts = [
    ...Object.entries(configMap.data),
    ...Object.entries(configMap.binaryData).map(
      ([key, value]) => [key, Buffer.from(value, 'base64').toString('latin1')] as const,
    ),
  ];
  const pems = texts.filter(([, text]) => text.includes('-----BEGIN '));
  if (pems.length === 0) {
    problems.push({ what: `${what} holds no certificate`, cure: 'put PEM bundles into its data' });
  }
  return pems
    .toSorted(([one], [other]) => (one < other ? -1 : 1))
    .map(([key, text]) => bundleIn(text, `${what} key ${key}`, problems));
}

/** The certificates alone: a key that stands between them must not come into a record. */
function bundleIn(text: string, source: string, problems: Problem[]): string {
  const found = certificatesIn(text);
  if (found.length === 0) {
    problems.push({
      what: `${source} has no certificate in it`,
      cure: 'give PEM blocks "BEGIN CERTIFICATE"',
    });
  }
  for (const [index, pem] of found.entries()) {
    if (!(readCertificate(pem) instanceof Error)) continue;
    problems.push({ what: `${source}: certificate ${index + 1} cannot be read`, cure: 'copy it once more' });
  }
  return found.map((pem) => `${pem}\n`).join('');
}
