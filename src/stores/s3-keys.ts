import type { S3Settings } from '../config/types.ts';
import { nameProblem } from '../snapshot/naming.ts';
import type { S3Location } from '../snapshot/snapshot.ts';

/** What every key of the folder begins with: `folder/`, or nothing for the root of the bucket. */
export function folderPrefix(settings: S3Settings): string {
  return settings.folder === '' ? '' : `${settings.folder}/`;
}

export function snapshotKey(settings: S3Settings, name: string): string {
  return `${folderPrefix(settings)}${name}`;
}

export function sidecarPrefix(settings: S3Settings): string {
  return `${folderPrefix(settings)}.metadata/`;
}

export function sidecarKey(settings: S3Settings, name: string): string {
  return `${sidecarPrefix(settings)}${name}`;
}

/** The snapshot name of an object directly in the folder; undefined for what is deeper, beside it, hidden or unfinished. */
export function nameOfKey(prefix: string, key: string): string | undefined {
  if (!key.startsWith(prefix)) return undefined;
  const name = key.slice(prefix.length);
  return nameProblem(name) === undefined && !name.endsWith('.part') ? name : undefined;
}

/** Whether a name is `<base>-<nodeName>-<unix seconds>[.zip]` of this node. */
export function isNameOfNode(name: string, nodeName: string): boolean {
  const [, stem] = /^(.+)-\d+(?:\.zip)?$/.exec(name) ?? [];
  const end = `-${nodeName}`;
  return stem !== undefined && stem.length > end.length && stem.endsWith(end);
}

/** Where the snapshot of that name is; an empty name stands for nowhere. */
export function s3Location(settings: S3Settings, name: string): S3Location {
  return {
    store: 's3',
    endpoint: settings.endpoint,
    ...(settings.endpointCA === '' ? {} : { endpointCA: settings.endpointCA }),
    skipSSLVerify: settings.skipSSLVerify,
    insecure: settings.insecure,
    region: settings.region,
    bucket: settings.bucket,
    prefix: settings.folder,
    key: name === '' ? '' : snapshotKey(settings, name),
  };
}

/** For messages. */
export function s3Url(settings: S3Settings, key: string): string {
  return `s3://${settings.bucket}/${key}`;
}
