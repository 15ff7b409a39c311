import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface MarkingS3 extends AsyncDisposable {
  readonly endpoint: string;
  /** Versions of delete markers that are there. */
  readonly markers: ReadonlySet<string>;
}

/**
 * A server that keeps versions and can do nothing but delete: what it is asked to remove gets a delete marker.
 * @param refuses status of its answer to the removal of a version, by how many it has had before; undefined: it removes it
 */
export async function startMarkingS3(refuses: (before: number) => number | undefined): Promise<MarkingS3> {
  const markers = new Set<string>();
  let made = 0;
  let removals = 0;
  const server = createServer(({ method, url = '' }, response) => {
    const version = new URL(url, 'http://it').searchParams.get('versionId');
    if (method === 'HEAD') response.writeHead(200).end();
    else if (method !== 'DELETE') response.writeHead(403).end('<Error><Code>AccessDenied</Code></Error>');
    else if (version === null) {
      made += 1;
      markers.add(`marker-${made}`);
      const headers = { 'x-amz-delete-marker': 'true', 'x-amz-version-id': `marker-${made}` };
      response.writeHead(204, headers).end();
    } else {
      const refused = refuses(removals);
      removals += 1;
      if (refused === undefined) markers.delete(version);
      const code = refused === 403 ? 'AccessDenied' : 'InternalError';
      response
        .writeHead(refused ?? 204)
        .end(refused === undefined ? '' : `<Error><Code>${code}</Code></Error>`);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    endpoint: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    markers,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
    },
  };
}
