import type { Look } from '../controllers/inventory-controller.ts';
import { isSnapshotError, SnapshotError } from '../errors.ts';
import { reasonOf } from '../ops/readiness.ts';
import type { Refused, Suspended } from '../reconcilers/inventory.ts';
import type { S3View } from '../reconcilers/ports.ts';
import { ofTheMoment } from './conditions.ts';

export interface PartReportsOptions {
  /** Says how a part fares. */
  readonly report: (part: string, error: SnapshotError | undefined) => void;
  /** Says on the Secret of the S3 settings what is wrong with it, or what S3 answers to it. */
  readonly tellOfSecret: (error: SnapshotError) => void;
  /** Counts records that stay because so many vanished at once. */
  readonly countSuspended: (store: 'local' | 's3', records: number) => void;
}

/** How etcd, S3 and the schedule fare, by all that looks, streams and uploads find. */
export interface PartReports {
  readonly looked: (look: Look, error: SnapshotError | undefined) => void;
  /** A snapshot has come from etcd, or its stream has failed. */
  readonly streamed: (error: SnapshotError | undefined) => void;
  /** A copy stands on S3, or its upload has failed. */
  readonly uploaded: (error: SnapshotError | undefined) => void;
  /** A scheduled run has ended. @param ofS3 its copy on disk stands, and what is missing is S3's */
  readonly ran: (error: SnapshotError | undefined, ofS3: boolean) => void;
  /** Other settings of S3 are in force. Nothing that was found with the old ones counts. */
  readonly s3Changed: (view: S3View, before: S3View) => void;
  /** Another operator looks at S3 from now on, and tells what it finds. */
  readonly leadsNoMore: () => void;
  /** So many copies the API server takes no record of; undefined: it takes all. */
  readonly refused: (store: 'local' | 's3', refused: Refused | undefined) => void;
  /** Whether the node could be told that a store was looked at. */
  readonly annotated: (store: 'local' | 's3', error: SnapshotError | undefined) => void;
  /** Whether retention could do its work. */
  readonly pruned: (store: 'local' | 's3', error: SnapshotError | undefined) => void;
  /** So much has vanished from a store at once that the records stay; undefined: nothing of the kind. */
  readonly suspended: (store: 'local' | 's3', suspended: Suspended | undefined) => void;
}

const UNTRIED = new SnapshotError('unavailable', 'S3 has not been asked with these settings yet', {
  retryable: true,
});

export function createPartReports(options: PartReportsOptions): PartReports {
  const { report, tellOfSecret } = options;
  let lookError: SnapshotError | undefined;
  let uploadError: SnapshotError | undefined;
  let runOfS3 = false;
  let told: string | undefined;
  const guard = perStore((error) => report('guard', error));
  const refusals = perStore((error) => report('refused', error));
  const retention = perStore((error) => report('retention', error));

  const tell = (error: SnapshotError | undefined) => {
    const reason = error === undefined ? undefined : reasonOf(error);
    if (error !== undefined && reason !== told) tellOfSecret(error);
    told = reason;
  };
  const s3Works = () => {
    report('s3', undefined);
    if (runOfS3) report('schedule', undefined);
    runOfS3 = false;
  };
  const s3Found = () => {
    const error = uploadError ?? lookError;
    tell(error);
    if (error === undefined) s3Works();
    else report('s3', error);
  };
  const suspended: PartReports['suspended'] = (store, found) => {
    options.countSuspended(store, found?.missing ?? 0);
    guard(store, found && manyVanished(store, found));
  };
  const leftAlone = () => {
    suspended('s3', undefined);
    refusals('s3', undefined);
    retention('s3', undefined);
  };
  return {
    suspended,
    refused: (store, found) => refusals(store, found && noRecord(found)),
    pruned: retention,
    annotated: perStore((error) => report('node', error)),
    leadsNoMore: leftAlone,
    looked(look, error) {
      if (look !== 's3') {
        report(look, error);
        return;
      }
      lookError = error;
      // What answers a look would take an upload too, unless it was refused for a reason of its own.
      if (error === undefined && uploadError?.retryable === true) uploadError = undefined;
      s3Found();
    },
    streamed(error) {
      if (!isSnapshotError(error, 'aborted')) report('etcd', error);
    },
    uploaded(error) {
      if (isSnapshotError(error, 'aborted')) return;
      uploadError = error;
      if (error === undefined) lookError = undefined;
      s3Found();
    },
    ran(error, ofS3) {
      runOfS3 = error !== undefined && ofS3;
      report('schedule', error);
    },
    s3Changed(view, before) {
      lookError = undefined;
      uploadError = undefined;
      leftAlone();
      if (view.state === 'unavailable') {
        if (!ofTheMoment(view.error)) tell(view.error);
        report('s3', view.error);
      } else if (before.state !== 'ready') {
        report('s3', UNTRIED);
      }
    },
  };
}

/** Reports what is wrong with one of the stores, of which each begins and ends on its own. */
function perStore(report: (error: SnapshotError | undefined) => void) {
  const wrong = new Map<'local' | 's3', SnapshotError>();
  return (store: 'local' | 's3', error: SnapshotError | undefined): void => {
    if (error === undefined) wrong.delete(store);
    else wrong.set(store, error);
    report(wrong.get('local') ?? wrong.get('s3'));
  };
}

function noRecord({ copies, name, error }: Refused): SnapshotError {
  const others = copies === 1 ? '' : ` and ${copies - 1} more`;
  return new SnapshotError('protocol', `Snapshot ${name}${others} cannot be recorded`, {
    why: error.why ?? error.message,
    hint: 'Give it another name, or move it away; all others are recorded.',
  });
}

function manyVanished(store: 'local' | 's3', { missing, of }: Suspended): SnapshotError {
  const [place, what] =
    store === 's3' ? ['on S3', 'bucket and folder'] : ['in the snapshot folder', 'volume'];
  return new SnapshotError('unavailable', `${missing} of ${of} snapshots are suddenly missing ${place}`, {
    why: 'their records stay until two more looks agree',
    hint: `Check that it is the right ${what}.`,
    retryable: true,
  });
}
