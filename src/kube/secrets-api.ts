import pRetry from 'p-retry';
import { abortError, isSnapshotError } from '../errors.ts';
import { isObjectMissing } from './api-errors.ts';
import type { KubeClient } from './client.ts';

/** An API server that is away for a moment should not cost a snapshot its copy on S3. */
const RETRIES = { retries: 2, minTimeout: 200, factor: 3, randomize: true } as const;

/** Secrets and ConfigMaps of kube-system. Everything throws as `KubeClient.request` does. */
export interface SecretsApi {
  /** Undefined when there is no such Secret. */
  secret(name: string, signal: AbortSignal): Promise<Secret | undefined>;
  /** Undefined when there is no such ConfigMap. */
  configMap(name: string, signal: AbortSignal): Promise<ConfigMap | undefined>;
}

interface Secret {
  readonly name: string;
  /** Values in base64. */
  readonly data: Readonly<Record<string, string>>;
}

interface ConfigMap {
  readonly name: string;
  readonly data: Readonly<Record<string, string>>;
  /** Values in base64. */
  readonly binaryData: Readonly<Record<string, string>>;
}

interface Received {
  readonly data?: Readonly<Record<string, string>>;
  readonly binaryData?: Readonly<Record<string, string>>;
}

export function createSecretsApi(client: KubeClient): SecretsApi {
  const get = async (kind: 'secrets' | 'configmaps', name: string, signal: AbortSignal) => {
    const path = `/api/v1/namespaces/kube-system/${kind}/${encodeURIComponent(name)}`;
    try {
      return await pRetry(() => client.request<Received>({ method: 'GET', path, signal }), {
        ...RETRIES,
        signal,
        shouldRetry: ({ error }) => isSnapshotError(error) && error.retryable,
      });
    } catch (error) {
      if (isObjectMissing(error)) return undefined;
      throw signal.aborted ? abortError(signal) : error;
    }
  };
  return {
    async secret(name, signal) {
      const received = await get('secrets', name, signal);
      return received === undefined ? undefined : { name, data: received.data ?? {} };
    },
    async configMap(name, signal) {
      const received = await get('configmaps', name, signal);
      if (received === undefined) return undefined;
      const { data = {}, binaryData = {} } = received;
      return { name, data, binaryData };
    },
  };
}
