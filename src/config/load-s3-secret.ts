import { SnapshotError } from '../errors.ts';
import { type ConfigMapContent, parseS3Secret, type SecretContent, unusableSecret } from './s3-secret.ts';
import type { S3Settings } from './types.ts';

/** Reads from kube-system; undefined for what does not exist. */
export interface SecretReader {
  secret(name: string, signal: AbortSignal): Promise<SecretContent | undefined>;
  configMap(name: string, signal: AbortSignal): Promise<ConfigMapContent | undefined>;
}

export interface S3FromSecret {
  readonly settings: S3Settings;
  readonly retention: number | undefined;
  /** What is odd and does no harm by itself. */
  readonly warnings: readonly SnapshotError[];
}

/**
 * The settings of S3 as the Secret and its CA ConfigMap have them now.
 * @throws SnapshotError `not-found` without that Secret, `usage` when its keys are wrong, and whatever reading throws
 */
export async function loadS3Secret(
  reader: SecretReader,
  name: string,
  signal: AbortSignal,
): Promise<S3FromSecret> {
  const secret = await reader.secret(name, signal);
  if (secret === undefined) {
    throw new SnapshotError(
      'not-found',
      `The settings of S3 cannot be read from Secret kube-system/${name}`,
      {
        why: 'there is no such Secret',
        hint: `Make it (type etcd.k3s.cattle.io/s3-config-secret), or correct --s3-config-secret.`,
      },
    );
  }
  const { caConfigMapName } = parseS3Secret(secret, undefined);
  const caConfigMap =
    caConfigMapName === undefined ? undefined : await reader.configMap(caConfigMapName, signal);
  const { settings, retention, problems, notes } = parseS3Secret(secret, caConfigMap);
  if (settings === undefined) throw unusableSecret(name, problems);
  const warnings = notes.map(({ what, cure }) => new SnapshotError('usage', what, { hint: `${cure}.` }));
  return { settings, retention, warnings };
}
