import { rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { syncFolder } from '../stores/atomic-write.ts';
import { removeUnfinished, writeSmall } from './files.ts';

/** The steps in their order. Each may be begun again after it was cut off anywhere. */
export const steps = [
  'unpack',
  'extract',
  'prove',
  'stop',
  'set-aside',
  'put-in-place',
  'certificates',
  'start',
  'finish',
] as const;
export type Step = (typeof steps)[number];

/** Where everything is. All but the snapshot lies on the file system of the data folder, so that moving is renaming. */
export interface Places {
  /** etcd's data folder. */
  readonly dataDir: string;
  /** Holds what is being made, and nothing that is needed afterwards. */
  readonly workDir: string;
  /** Where the old data go, and stay. */
  readonly oldDir: string;
  /** `<data-dir>/server` of K3s or RKE2. */
  readonly serverDir: string | undefined;
  /**
   * Whether the data folder is a mount point, which cannot be renamed: then its content moves, and `workDir` and `oldDir`
   * are in it.
   */
  readonly mounted: boolean;
  /** Where kubelet finds its pods, and where they are meanwhile; undefined where others run etcd. */
  readonly manifests: ManifestPlaces | undefined;
}

export interface ManifestPlaces {
  readonly dir: string;
  readonly away: string;
  /** What a member that rejoins is started with: `name=url` of all members. */
  readonly initialCluster?: string;
}

/**
 * Why the data folder is made anew: out of a snapshot, out of the data that are there but without the other members, or not
 * at all: then it is only put aside, so that the member joins others.
 */
export const purposes = ['restore', 'reset', 'rejoin'] as const;
export type Purpose = (typeof purposes)[number];

/** What a restore does and how far it is, in a small file beside the data. */
export interface Journal {
  readonly version: 1;
  readonly purpose: Purpose;
  /** Seconds since 1970; also in the names of the folders. */
  readonly began: number;
  readonly places: Places;
  /** Undefined for `rejoin`; for `reset` the database that is there, without a SHA-256. */
  readonly snapshot:
    | {
        readonly path: string;
        readonly sha256: string;
        readonly compressed: boolean;
        readonly plainSize: number;
        readonly revision: number;
        readonly records: number;
      }
    | undefined;
  readonly member: string;
  readonly peerUrl: string;
  /** Of this restore alone: with etcd's default the cluster would have the id of every other that its members were restored to. */
  readonly clusterToken: string;
  /** How many revisions are skipped, and how many the user wanted skipped at least. */
  readonly bumpRevision: number;
  readonly bumpWanted: number;
  /** Whom the data belong to. */
  readonly owner: { readonly uid: number; readonly gid: number };
  /** Whether there was a data folder to put aside. */
  readonly hadData: boolean;
  /** The step that was begun last; undefined: everything is done. */
  readonly step: Step | undefined;
  /** What puts the old data back, once that has begun; moves before `begun` are made, and that one may be. */
  readonly rollback?: { readonly moves: readonly Move[]; readonly begun: number };
}

/** Whether a step is over. */
export function isBehind({ step }: Pick<Journal, 'step'>, past: Step): boolean {
  return step === undefined || steps.indexOf(step) > steps.indexOf(past);
}

export interface Move {
  readonly from: string;
  readonly to: string;
}

export async function writeJournal(path: string, journal: Journal): Promise<void> {
  await writeSmall(path, `${JSON.stringify(journal, undefined, 2)}\n`);
}

export async function removeJournal(path: string): Promise<void> {
  await removeUnfinished(path);
  await rm(path, { force: true });
  await syncFolder(dirname(path));
}
