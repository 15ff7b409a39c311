import type { Config, S3Settings } from '../config/types.ts';
import type { OpenedS3 } from '../controllers/live-s3.ts';
import { createRetiringStore } from '../controllers/retiring-store.ts';
import type { Program } from '../crds/etcd-snapshot-file.ts';
import { s3Location } from '../stores/s3-keys.ts';

export interface S3StoresOptions {
  readonly program: Program;
  /** Asked before each request that only the leader may make; throws when it must not be made. */
  readonly assertLeading: () => void;
}

/** What opens S3 with settings, as often as they change. Its library is 35 MB that only those pay who use it. */
export async function createS3Opener(
  { s3: source, nodeName, snapshotDir }: Pick<Config, 's3' | 'nodeName' | 'snapshotDir'>,
  { program, assertLeading }: S3StoresOptions,
): Promise<(settings: S3Settings) => OpenedS3> {
  if (source.kind === 'off') {
    return () => {
      throw new Error('S3 is off, and settings of it have come all the same');
    };
  }
  const { createS3Store } = await import('../stores/s3-store.ts');
  return (s3) => {
    const own = createRetiringStore(createS3Store(s3, { program, nodeName, journalDir: snapshotDir }));
    const shared = createRetiringStore(createS3Store(s3, { program, nodeName, mayCall: assertLeading }));
    return {
      store: own.store,
      shared: shared.store,
      place: { store: 's3', endpoint: s3.endpoint, bucket: s3.bucket, prefix: s3.folder },
      location: (name) => s3Location(s3, name),
      retire() {
        own.retire();
        shared.retire();
      },
    };
  };
}
