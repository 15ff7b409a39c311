import { createHash, createHmac } from 'node:crypto';
import type { TemporaryKeys } from './aws-stand-in.ts';
import type { S3Server } from './s3-server.ts';

/**
 * Keys that a server takes only together with their session token. MinIO makes real ones (STS AssumeRole); versitygw has
 * none, so its own keys stand in, without a token.
 * @param policy what they may do, in Amazon's language, of what the server's own may; for MinIO alone
 */
export async function temporaryKeys(s3: S3Server, policy?: object): Promise<TemporaryKeys> {
  if (s3.kind === 'versitygw') {
    return { accessKeyId: s3.accessKey, secretAccessKey: s3.secretKey, sessionToken: '' };
  }
  const body = new URLSearchParams({
    Action: 'AssumeRole',
    Version: '2011-06-15',
    DurationSeconds: '900',
    ...(policy === undefined ? {} : { Policy: JSON.stringify(policy) }),
  }).toString();
  const answer = await fetch(s3.url, { method: 'POST', body, headers: signed(s3, body) });
  const text = await answer.text();
  const part = (name: string) => new RegExp(`<${name}>([^<]+)</${name}>`).exec(text)?.[1] ?? '';
  const sessionToken = part('SessionToken');
  if (sessionToken === '') throw new Error(`no temporary keys: HTTP ${answer.status} ${text}`);
  return { accessKeyId: part('AccessKeyId'), secretAccessKey: part('SecretAccessKey'), sessionToken };
}

/** Signature version 4, for the one call that the S3 client cannot make. */
function signed(s3: S3Server, body: string): Record<string, string> {
  const time = new Date().toISOString().replaceAll(/[-:]|\.\d{3}/g, '');
  const scope = `${time.slice(0, 8)}/us-east-1/sts/aws4_request`;
  const hash = (text: string) => createHash('sha256').update(text).digest('hex');
  const hmac = (key: string | Buffer, text: string) => createHmac('sha256', key).update(text).digest();
  const names = 'content-type;host;x-amz-date';
  const type = 'application/x-www-form-urlencoded';
  const request = `POST\n/\n\ncontent-type:${type}\nhost:${s3.endpoint}\nx-amz-date:${time}\n\n${names}\n${hash(body)}`;
  const key = scope.split('/').reduce<string | Buffer>(hmac, `AWS4${s3.secretKey}`);
  const signature = hmac(key, `AWS4-HMAC-SHA256\n${time}\n${scope}\n${hash(request)}`).toString('hex');
  return {
    'content-type': type,
    'x-amz-date': time,
    authorization: `AWS4-HMAC-SHA256 Credential=${s3.accessKey}/${scope}, SignedHeaders=${names}, Signature=${signature}`,
  };
}
