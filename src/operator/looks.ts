import type { InventoryControllerOptions } from '../controllers/inventory-controller.ts';
import type { LocalPlace } from '../crds/claim.ts';
import { S3_NODE } from '../crds/etcd-snapshot-file.ts';
import { isSnapshotError, SnapshotError } from '../errors.ts';
import type { ClusterFacts } from '../kube/cluster-facts.ts';
import type { Logger } from '../logger.ts';
import { reasonOf } from '../ops/readiness.ts';
import { createDepartedNodes } from '../reconcilers/departed-nodes.ts';
import { createInventory, type Refused, type Suspended } from '../reconcilers/inventory.ts';
import { createLocalInventory } from '../reconcilers/local-inventory.ts';
import type { PruneParts } from '../reconcilers/prune.ts';
import type { RecordMemory } from '../reconcilers/record-memory.ts';
import { createS3Inventory } from '../reconcilers/s3-inventory.ts';
import type { SnapshotFolder } from '../snapshot/ports.ts';
import type { Timers } from '../timers.ts';
import type { Saver } from './saver.ts';

export interface LooksParts extends PruneParts {
  readonly nodeName: string;
  readonly folder: SnapshotFolder;
  readonly place: LocalPlace;
  readonly saver: Saver;
  readonly facts: ClusterFacts;
  readonly memory: RecordMemory;
  /** Base name of the schedule; undefined: there is none, and nothing is pruned. */
  readonly scheduledBase: string | undefined;
  /** Records on S3 that are known for a shorter time are not removed. */
  readonly youngMs: number;
  /** How much older than a new upload a record on S3 must be, so that its object may go for it. */
  readonly apartMs: number;
  /** Least time between looks that shall agree that much has vanished. */
  readonly guardMs: number;
  /** An etcd outside of the cluster has no Node there, and its records must not pass for those of one that left. */
  readonly skipDeparted: boolean;
  /** Beside k3s its note about S3 must stay its own: it tells whether k3s keeps records of S3 too. */
  readonly annotatesS3: boolean;
  readonly timers: Timers;
  readonly logger: Logger;
  readonly onSnapshots: (store: 'local' | 's3', count: number) => void;
  readonly onWaiting: (store: 's3', count: number) => void;
  readonly onRefused: (store: 'local' | 's3', refused: Refused | undefined) => void;
  readonly onSuspended: (store: 'local' | 's3', suspended: Suspended | undefined) => void;
}

type Looks = Pick<
  InventoryControllerOptions,
  'local' | 's3' | 'etcd' | 'departed' | 'leftovers' | 'annotate'
>;

/** What the operator looks at again and again, put together from the reconcilers. */
export function createLooks(parts: LooksParts): Looks {
  const { nodeName, folder, place, saver, facts, timers, logger } = parts;
  const clocks = { now: () => timers.now(), monotonic: () => timers.monotonic() };
  const inventoryOf = (store: 'local' | 's3') =>
    createInventory({
      ...parts,
      ...clocks,
      onRefused: (refused) => parts.onRefused(store, refused),
      onSuspended: (suspended) => parts.onSuspended(store, suspended),
      wentSince: (snapshot, since) => parts.memory.wentSince(snapshot, since),
      store,
      keeper: store === 's3' ? S3_NODE : nodeName,
      youngMs: store === 's3' ? parts.youngMs : 0,
    });
  const legacyMetadata = optionalMetadata(parts);
  const local = createLocalInventory({
    nodeName,
    folder,
    place,
    records: parts.records,
    inventory: inventoryOf('local'),
    legacyMetadata,
    onSnapshots: (count) => parts.onSnapshots('local', count),
  });
  const s3 = createS3Inventory({
    ...parts,
    ...clocks,
    inventory: inventoryOf('s3'),
    clusterId: (signal) => facts.clusterId(signal),
    legacyMetadata,
    onSnapshots: (count) => parts.onSnapshots('s3', count),
    onWaiting: (count) => parts.onWaiting('s3', count),
  });
  const departed = createDepartedNodes({
    ...parts,
    ...clocks,
    nodeIsGone: (name, signal) => facts.nodeIsGone(name, signal),
  });
  /** What a look compares a place with. Without it every file and object would seem to be new. */
  const assertRecords = () => {
    if (!parts.records.synced)
      throw new SnapshotError('unavailable', 'The records have not been listed yet', { retryable: true });
  };
  return {
    async local(signal) {
      assertRecords();
      return local(signal);
    },
    async s3(view, signal) {
      assertRecords();
      return s3(view, signal);
    },
    etcd: (signal) => saver.checkEtcd(signal),
    departed: async (signal) => {
      if (parts.skipDeparted) return;
      assertRecords();
      await departed(signal);
    },
    async leftovers(signal) {
      for (const what of await saver.tidyUp(signal))
        logger.info({ what }, 'Removed what a dead save had left');
    },
    async annotate(store, signal) {
      if (store === 's3' && !parts.annotatesS3) return;
      if (await facts.annotateNode(nodeName, store, timers.now(), signal)) return;
      logger.debug({ node: nodeName }, 'There is no such Node to annotate');
    },
  };
}

/** What k3s once noted is good to have; a user who must not read it is no reason to leave files without records. */
export function optionalMetadata({
  facts,
  logger,
}: {
  readonly facts: Pick<ClusterFacts, 'legacyMetadata'>;
  readonly logger: Pick<Logger, 'warn'>;
}): ClusterFacts['legacyMetadata'] {
  let told = false;
  return async (signal) => {
    try {
      return await facts.legacyMetadata(signal);
    } catch (error) {
      if (!isSnapshotError(error, 'forbidden')) throw error;
      if (!told) logger.warn({ reason: reasonOf(error) }, 'Metadata that k3s once noted are left out');
      told = true;
      return new Map();
    }
  };
}
