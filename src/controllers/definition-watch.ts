import { snapshotFileResource } from '../crds/etcd-snapshot-file.ts';
import { SnapshotError } from '../errors.ts';
import type { KubeClient } from '../kube/client.ts';
import { startReflector } from '../kube/reflector.ts';
import type { Timers } from '../timers.ts';

const NAME = `${snapshotFileResource.plural}.${snapshotFileResource.group}`;
const CURE = 'kubectl apply -f deploy/crds/';

export interface DefinitionWatchOptions {
  readonly client: Pick<KubeClient, 'request' | 'watch'>;
  readonly timers: Timers;
  readonly random: () => number;
  /** Undefined: it is there, and stays. */
  readonly onState: (error: SnapshotError | undefined) => void;
  /** It was being deleted, and is there anew. */
  readonly onBack: () => void;
  readonly signal: AbortSignal;
}

export interface DefinitionWatch {
  /** Whether the definition of the records is being deleted. What is made then would be swept away, or refused. */
  readonly definitionIsGoing: () => boolean;
  /** Resolves when the signal has fired and nothing is open any more. */
  readonly stopped: Promise<void>;
}

interface RawDefinition {
  readonly metadata: {
    readonly name: string;
    readonly resourceVersion?: string;
    readonly deletionTimestamp?: string;
  };
}

/** Watches the CustomResourceDefinition of the records, by its name. */
export function watchDefinition(options: DefinitionWatchOptions): DefinitionWatch {
  let isThere = false;
  let isGoing = false;
  let hasGone = false;
  const told = () => {
    if (isGoing) return going();
    return isThere ? undefined : absent();
  };
  const { stopped } = startReflector<RawDefinition, boolean>({
    ...options,
    path: '/apis/apiextensions.k8s.io/v1/customresourcedefinitions',
    fieldSelector: `metadata.name=${NAME}`,
    transform: ({ metadata }) => metadata.deletionTimestamp !== undefined,
    onChange(_name, now) {
      isThere = now !== undefined;
      isGoing = now === true;
      hasGone ||= isGoing;
      options.onState(told());
      if (now !== false || !hasGone) return;
      hasGone = false;
      options.onBack();
    },
    onState({ synced, error }) {
      // That the API server is away is told of the records; what was known of the definition stays known.
      if (error !== undefined && !error.retryable) options.onState(error);
      else if (synced) options.onState(told());
    },
  });
  return { definitionIsGoing: () => isGoing, stopped };
}

/** Why records are neither made nor changed while their definition is being deleted. */
export function going(): SnapshotError {
  return new SnapshotError('unavailable', 'Records are neither made nor changed', {
    why: `the CustomResourceDefinition ${NAME} is being deleted`,
    hint: `Wait until it is gone, and install it again: ${CURE}. All snapshots stay.`,
    retryable: true,
  });
}

function absent(): SnapshotError {
  return new SnapshotError('not-found', `There is no CustomResourceDefinition ${NAME}`, {
    hint: `Install it: ${CURE}.`,
    retryable: true,
  });
}
