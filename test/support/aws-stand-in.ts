import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

export interface TemporaryKeys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string;
}

/** What Amazon puts beside its machines and pods to give them keys, speaking its protocols. */
export interface AwsStandIn extends AsyncDisposable {
  readonly url: string;
  /** One line per question for keys: where, and what was shown. */
  readonly asked: readonly string[];
  /** Keys for the next questions. */
  give(keys: TemporaryKeys, validForMs: number): void;
  /** From now on everybody is refused. */
  refuse(): void;
}

const ROLE = 'snapshot-role';
const METADATA = '/latest/meta-data/iam/security-credentials/';

/**
 * STS (AssumeRoleWithWebIdentity), the metadata service of an instance (version 2: no answer without its token) and the
 * endpoint of container and pod identity (`/v1/credentials`).
 * @param pass what a container has to show as `Authorization`
 */
export async function startAwsStandIn(pass: string): Promise<AwsStandIn> {
  const asked: string[] = [];
  let refused = false;
  let keys: TemporaryKeys = { accessKeyId: '', secretAccessKey: '', sessionToken: '' };
  let validForMs = 0;
  const asJson = (tokenName: string) =>
    JSON.stringify({
      Code: 'Success',
      Type: 'AWS-HMAC',
      LastUpdated: new Date().toISOString(),
      AccessKeyId: keys.accessKeyId,
      SecretAccessKey: keys.secretAccessKey,
      [tokenName]: keys.sessionToken,
      Expiration: new Date(Date.now() + validForMs).toISOString(),
    });
  const answer = async (request: IncomingMessage): Promise<[status: number, body: string]> => {
    const { method, url = '', headers } = request;
    const route = `${method} ${url}`;
    if (route === 'PUT /latest/api/token') {
      return headers['x-aws-ec2-metadata-token-ttl-seconds'] === undefined
        ? [400, '']
        : [200, 'metadata-token'];
    }
    if (url.startsWith(METADATA)) {
      if (headers['x-aws-ec2-metadata-token'] !== 'metadata-token') return [401, ''];
      if (url === METADATA) return [200, ROLE];
      asked.push(`instance ${url.slice(METADATA.length)}`);
      return refused ? [500, ''] : [200, asJson('Token')];
    }
    if (route === 'GET /v1/credentials') {
      asked.push(`container ${headers.authorization ?? ''}`);
      return refused || headers.authorization !== pass ? [401, '{}'] : [200, asJson('Token')];
    }
    const form = new URLSearchParams(await text(request));
    if (form.get('Action') !== 'AssumeRoleWithWebIdentity') return [404, ''];
    asked.push(`sts ${form.get('RoleArn') ?? ''} ${form.get('WebIdentityToken') ?? ''}`);
    return refused
      ? [
          403,
          '<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message></Error></ErrorResponse>',
        ]
      : [
          200,
          `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>${keys.accessKeyId}</AccessKeyId><SecretAccessKey>${keys.secretAccessKey}</SecretAccessKey>
<SessionToken>${keys.sessionToken}</SessionToken><Expiration>${new Date(Date.now() + validForMs).toISOString()}</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
        ];
  };
  const respond = async (request: IncomingMessage, response: ServerResponse) => {
    const [status, body] = await answer(request);
    response.writeHead(status, { 'content-type': body.startsWith('<') ? 'text/xml' : 'application/json' });
    response.end(body);
  };
  const server = createServer((request, response) => {
    respond(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    give(next, forMs) {
      keys = next;
      validForMs = forMs;
    },
    refuse() {
      refused = true;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
