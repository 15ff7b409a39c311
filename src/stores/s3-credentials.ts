import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { S3ClientConfig } from '@aws-sdk/client-s3';
import { defaultProvider } from '@aws-sdk/credential-provider-node';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import type { S3Settings } from '../config/types.ts';
import { asError, SnapshotError, systemCode } from '../errors.ts';
import { readFailure, withoutRequest } from './s3-failure.ts';

const CONNECT_MS = 5_000;
const STALL_MS = 10_000;

/**
 * The keys that were given, or those that the AWS SDK finds: shared file and profile, web identity, pod identity, instance.
 * Found ones are fetched when the first request needs them, and anew five minutes before they expire.
 * @param env of the process, for the proxy on the way to Amazon's STS
 */
export function credentialsOf(
  settings: S3Settings,
  env: Readonly<Record<string, string | undefined>>,
): NonNullable<S3ClientConfig['credentials']> {
  const { keys } = settings;
  if (keys !== undefined) {
    return {
      accessKeyId: keys.accessKey.reveal(),
      secretAccessKey: keys.secretKey.reveal(),
      ...(keys.sessionToken === undefined ? {} : { sessionToken: keys.sessionToken.reveal() }),
    };
  }
  const find = defaultProvider({
    // Of the instance: it answers at once, or is not there.
    timeout: 1_000,
    maxRetries: 2,
    clientConfig: { region: env['AWS_REGION'] || settings.region, requestHandler: stsHandler(settings, env) },
  });
  return async (...properties) => {
    try {
      return await find(...properties);
    } catch (error) {
      throw notFound(error);
    }
  };
}

/** Not that of S3: an endpoint of one's own brings CAs, or unchecked certificates, that have no say about Amazon. */
function stsHandler(
  { proxy }: S3Settings,
  env: Readonly<Record<string, string | undefined>>,
): NodeHttpHandler {
  const url = proxy === 'environment' || proxy === 'none' ? undefined : proxy.reveal();
  const given = url === undefined ? {} : { HTTP_PROXY: url, HTTPS_PROXY: url };
  const shared = { keepAlive: true, proxyEnv: proxy === 'environment' ? env : given };
  return new NodeHttpHandler({
    connectionTimeout: CONNECT_MS,
    socketTimeout: STALL_MS,
    httpAgent: new HttpAgent(shared),
    httpsAgent: new HttpsAgent(shared),
  });
}

/** Errors of STS look like those of S3, and must not pass for them. */
function notFound(error: unknown): SnapshotError {
  const failure = readFailure(error);
  const isAway = (failure.status ?? 0) >= 500 || systemCode(error) !== undefined;
  const nothing = failure.name === 'CredentialsProviderError';
  return new SnapshotError('unauthenticated', 'Cannot get keys for S3', {
    why: `none were given, and the AWS SDK found none: ${asError(error).message}`,
    hint: nothing
      ? 'Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this node or pod a role.'
      : 'Check the role of this node or pod, and who may take it on.',
    retryable: !nothing && isAway,
    cause: withoutRequest(error, failure),
  });
}
