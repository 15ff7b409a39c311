import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { Redacted, type S3Settings } from '../../src/config/types.ts';

/** How it is not an honest S3 server. */
export interface Lies {
  /** What it keeps of what it was sent, without looking at checksums. */
  readonly keeps?: (body: Buffer) => Buffer;
  /** Headers that it adds to its answers to PUT, HEAD and the begin of an upload. */
  readonly headers?: Readonly<Record<string, string>>;
  /** The ETag that it shows of the object with this one. */
  readonly shows?: (etag: string) => string;
  /** Default true: it has none then. */
  readonly mayListUploads?: boolean;
  /** Default false: it refuses what is not what its signed SHA-256 says. */
  readonly ignoresSha256?: boolean;
  /** Refuses parts without `Content-MD5`, as Amazon does where objects are locked. */
  readonly wantsMd5?: boolean;
  /** The part that it never says a word about. */
  readonly silentAt?: number;
  /** How long it thinks about each HEAD. */
  readonly headMs?: number;
  /** Default: it keeps to `If-None-Match`. Or it does not know it, and says so, or does not even say so. */
  readonly guard?: 'refuses' | 'ignores';
  /** Right before it makes an object: for whatever others do at that moment. */
  readonly beforeObject?: () => void;
  /** What it answers to so many tries to make an object of parts, although it has made it. */
  readonly saysOfObject?: readonly string[];
  /** Uploads of the same key that others have begun. */
  readonly others?: readonly { readonly uploadId: string; readonly initiated: Date }[];
  /** It may not delete. */
  readonly keepsAll?: boolean;
  /** How often it still lists parts of an upload that was dropped: those that were on their way. */
  readonly lateParts?: number;
}

export interface ScriptedS3 extends AsyncDisposable {
  readonly settings: S3Settings;
  /** `begin`, `part 1`, `put`, `complete`, `abort`, `head`, `delete`, `taken`, in the order of their arrival. */
  readonly diary: readonly string[];
  /** Of each put and part that it took: the sums that came with it, all of them right. */
  readonly sums: readonly string[];
  readonly objects: ReadonlyMap<string, Buffer>;
  /** Puts an object there, as somebody else. @param metadata user metadata */
  place(key: string, body: Buffer, metadata?: Readonly<Record<string, string>>): void;
  /** Connections that are open. */
  connections(): Promise<number>;
}

/** Of a server without TLS that takes all keys. @param endpoint `host:port` */
export function plainSettings(endpoint: string): S3Settings {
  return {
    endpoint,
    endpointCA: '',
    skipSSLVerify: false,
    insecure: true,
    keys: {
      accessKey: new Redacted('key'),
      secretKey: new Redacted('secret'),
      sessionToken: undefined,
    },
    bucket: 'bucket',
    region: 'us-east-1',
    folder: '',
    timeoutMs: 60_000,
    stallMs: 30_000,
    proxy: 'environment',
    lookup: 'auto',
    checksums: 'when-required',
    encryption: { kind: 'none' },
    objects: { storageClass: undefined, acl: undefined, tags: new Map() },
  };
}

/** An S3 server in memory, as wrong as a test wants it to be: real ones cannot be made to lie. */
export async function startScriptedS3(lies: Lies = {}): Promise<ScriptedS3> {
  const diary: string[] = [];
  const sums: string[] = [];
  const objects = new Map<string, Buffer>();
  const parts = new Map<number, Buffer>();
  const etags = new Map<string, string>();
  const metadata = new Map<string, Readonly<Record<string, string>>>();
  let begun: Readonly<Record<string, string>> = {};
  let lateParts = 0;
  const says = [...(lies.saysOfObject ?? [])];
  let others = lies.others ?? [];
  const etagOf = (body: Buffer) => `"${createHash('md5').update(body).digest('hex')}"`;
  const extra = lies.headers ?? {};
  const take = ({ headers }: IncomingMessage, body: Buffer): Buffer => {
    const sha256 = headers['x-amz-content-sha256'] === createHash('sha256').update(body).digest('hex');
    const md5 = headers['content-md5'] === createHash('md5').update(body).digest('base64');
    sums.push([...(sha256 ? ['sha256'] : []), ...(md5 ? ['md5'] : [])].join(' '));
    return lies.keeps?.(body) ?? body;
  };
  /** The name of what is wrong with a part or object. */
  const refusal = ({ headers, url = '' }: IncomingMessage, body: Buffer): string | undefined => {
    const sha256 = createHash('sha256').update(body).digest('hex');
    if (lies.ignoresSha256 !== true && headers['x-amz-content-sha256'] !== sha256)
      return 'XAmzContentSHA256Mismatch';
    const lacksMd5 =
      lies.wantsMd5 === true && url.includes('uploadId=') && headers['content-md5'] === undefined;
    return lacksMd5 ? 'InvalidRequest' : undefined;
  };
  const answer = (request: IncomingMessage, response: ServerResponse, body: Buffer) => {
    const url = new URL(request.url ?? '/', 'http://it');
    const key = url.pathname.split('/').slice(2).join('/');
    const part = url.searchParams.get('partNumber');
    const what = `${request.method} ${[...url.searchParams.keys()].filter((name) => name !== 'x-id').join(' ')}`;
    const stored = objects.get(key);
    const wrong = request.method === 'PUT' ? refusal(request, body) : undefined;
    if (wrong !== undefined) {
      response.writeHead(400).end(xml('Error', `<Code>${wrong}</Code>`));
      return;
    }
    const guarded = request.headers['if-none-match'] === '*';
    if (guarded && lies.guard === 'refuses') {
      response.writeHead(501).end(xml('Error', '<Code>NotImplemented</Code>'));
      return;
    }
    const makes = ['PUT', 'POST uploadId'].includes(what.trim());
    if (makes) lies.beforeObject?.();
    if (makes && guarded && lies.guard !== 'ignores' && objects.has(key)) {
      diary.push('taken');
      response.writeHead(412).end(xml('Error', '<Code>PreconditionFailed</Code>'));
      return;
    }
    switch (what.trim()) {
      case 'PUT': {
        diary.push('put');
        const kept = take(request, body);
        objects.set(key, kept);
        etags.set(key, etagOf(kept));
        metadata.set(key, userMetadata(request));
        response.writeHead(200, { etag: etagOf(kept), ...extra }).end();
        return;
      }
      case 'POST uploads':
        diary.push('begin');
        begun = userMetadata(request);
        lateParts = lies.lateParts ?? 0;
        response.writeHead(200, extra).end(xml('InitiateMultipartUploadResult', '<UploadId>it</UploadId>'));
        return;
      case 'PUT partNumber uploadId': {
        diary.push(`part ${part}`);
        if (Number(part) === lies.silentAt) return;
        const kept = take(request, body);
        parts.set(Number(part), kept);
        response.writeHead(200, { etag: etagOf(kept), ...extra }).end();
        return;
      }
      case 'POST uploadId': {
        diary.push('complete');
        if (parts.size === 0) {
          response.writeHead(404).end(xml('Error', '<Code>NoSuchUpload</Code>'));
          return;
        }
        const inOrder = [...parts].toSorted(([a], [b]) => a - b).map(([, bytes]) => bytes);
        const sum = createHash('md5');
        for (const bytes of inOrder) sum.update(createHash('md5').update(bytes).digest());
        objects.set(key, Buffer.concat(inOrder));
        etags.set(key, `"${sum.digest('hex')}-${inOrder.length}"`);
        metadata.set(key, begun);
        parts.clear();
        const odd = says.shift();
        if (odd !== undefined) {
          response.writeHead(200).end(odd);
          return;
        }
        const etag = extra['etag'] ?? etags.get(key) ?? '';
        response.writeHead(200).end(xml('CompleteMultipartUploadResult', `<ETag>${etag}</ETag>`));
        return;
      }
      case 'DELETE uploadId': {
        const id = url.searchParams.get('uploadId');
        const isOther = others.some(({ uploadId }) => uploadId === id);
        diary.push(isOther ? `abort ${id}` : 'abort');
        others = others.filter(({ uploadId }) => uploadId !== id);
        if (!isOther) parts.clear();
        response.writeHead(204).end();
        return;
      }
      case 'GET max-parts uploadId':
        diary.push('list parts');
        lateParts -= 1;
        response
          .writeHead(200)
          .end(xml('ListPartsResult', lateParts < 0 ? '' : '<Part><PartNumber>2</PartNumber></Part>'));
        return;
      case 'DELETE':
        diary.push('delete');
        if (lies.keepsAll === true) {
          response.writeHead(403).end(xml('Error', '<Code>AccessDenied</Code>'));
          return;
        }
        objects.delete(key);
        response.writeHead(204).end();
        return;
      case 'HEAD': {
        diary.push('head');
        if (stored === undefined) response.writeHead(404).end();
        else {
          const etag = (lies.shows ?? String)(etags.get(key) ?? etagOf(stored));
          const headers = { etag, 'content-length': stored.length, ...metadata.get(key), ...extra };
          const tell = () => response.writeHead(200, headers).end();
          if (lies.headMs === undefined) tell();
          else setTimeout(tell, lies.headMs);
        }
        return;
      }
      case 'GET delimiter list-type prefix': {
        diary.push('list');
        const lines = [...objects].map(
          ([name, body]) => `<Contents><Key>${name}</Key><Size>${body.length}</Size></Contents>`,
        );
        const page = `<Name>bucket</Name><IsTruncated>false</IsTruncated>${lines.join('')}`;
        response.writeHead(200).end(xml('ListBucketResult', page));
        return;
      }
      case 'GET prefix uploads':
        diary.push('list uploads');
        if (lies.mayListUploads === false) {
          response.writeHead(403).end(xml('Error', '<Code>AccessDenied</Code>'));
        } else {
          const uploads = others.map(
            ({ uploadId, initiated }) =>
              `<Upload><Key>${url.searchParams.get('prefix')}</Key><UploadId>${uploadId}</UploadId><Initiated>${initiated.toISOString()}</Initiated></Upload>`,
          );
          const page = `<IsTruncated>false</IsTruncated>${uploads.join('')}`;
          response.writeHead(200).end(xml('ListMultipartUploadsResult', page));
        }
        return;
      default:
        diary.push(what);
        response.writeHead(501).end(xml('Error', '<Code>NotImplemented</Code>'));
    }
  };
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.once('end', () => answer(request, response, Buffer.concat(chunks)));
  });
  // Whoever is done with a connection has to close it.
  server.keepAliveTimeout = 600_000;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    settings: plainSettings(`127.0.0.1:${(server.address() as AddressInfo).port}`),
    diary,
    sums,
    objects,
    place: (key, body, more = {}) => {
      objects.set(key, body);
      etags.set(key, etagOf(body));
      const headers = Object.entries(more).map(([name, value]) => [`${META}${name}`, value]);
      metadata.set(key, Object.fromEntries(headers));
    },
    connections: promisify(server.getConnections.bind(server)),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const META = 'x-amz-meta-';

function userMetadata({ headers }: IncomingMessage): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      name.startsWith(META) && typeof value === 'string' ? [[name, value]] : [],
    ),
  );
}

function xml(element: string, content: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?><${element}>${content}</${element}>`;
}
