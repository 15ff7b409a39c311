import { SnapshotError } from '../../src/errors.ts';
import { fromAnswer } from '../../src/kube/api-errors.ts';
import type { KubeRequest } from '../../src/kube/api-request.ts';
import type { KubeClient } from '../../src/kube/client.ts';

export interface StoredEvent {
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly message: string;
  readonly count: number;
  readonly firstTimestamp: string;
  readonly lastTimestamp: string;
}

export const away = new SnapshotError('unavailable', 'Away', { retryable: true });

export function refuse(request: KubeRequest, status: number, reason: string): SnapshotError {
  return fromAnswer(request, status, JSON.stringify({ kind: 'Status', reason, details: { name: 'x' } }));
}

/** Events as the API server keeps them, by path. */
export class FakeEvents implements Pick<KubeClient, 'request'> {
  readonly events = new Map<string, StoredEvent>();
  readonly requests: KubeRequest[] = [];
  /** What becomes of a call: an error refuses it, `lost` does it without an answer. */
  rule: (request: KubeRequest) => SnapshotError | 'lost' | 'hang' | undefined = () => undefined;

  async request<T>(request: KubeRequest): Promise<T> {
    request.signal.throwIfAborted();
    this.requests.push(request);
    const fault = this.rule(request);
    if (fault instanceof SnapshotError) throw fault;
    if (fault === 'hang') {
      await new Promise((_, reject) => request.signal.addEventListener('abort', reject));
    }
    const answer = this.#answer(request);
    if (fault === 'lost') throw away;
    return JSON.parse(JSON.stringify(answer));
  }

  #answer(request: KubeRequest): StoredEvent {
    const body = structuredClone(request.body) as StoredEvent;
    const creates = request.method === 'POST';
    const key = creates ? `${request.path}/${body.metadata.name}` : request.path;
    const stored = this.events.get(key);
    if (creates && stored !== undefined) throw refuse(request, 409, 'AlreadyExists');
    if (!creates && stored === undefined) throw refuse(request, 404, 'NotFound');
    const event = { ...stored, ...body };
    this.events.set(key, event);
    return event;
  }
}
