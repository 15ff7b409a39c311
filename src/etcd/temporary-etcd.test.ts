import { once } from 'node:events';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { scratchDir } from '../../test/support/scratch.ts';
import { startTemporaryEtcd } from './temporary-etcd.ts';

const never = new AbortController().signal;

/** A program in the place of etcd, that answers as one which has a leader. @param onAsk what it does when asked to end */
async function pretending(onAsk: string, limits?: { startMs: number; stopMs: number }, answer = true) {
  const scratch = await scratchDir();
  const program = join(scratch.path, 'etcd');
  const text = `#!${process.execPath}
const { createServer } = require('node:http');
process.on('SIGTERM', () => { ${onAsk} });
createServer((request, answer) => {
  if (request.url === '/crash') process.exit(3);
  if (${answer}) answer.end('{"leader":"1","version":"3.6.0"}');
}).listen(${JSON.stringify(join(scratch.path, 'run/client.sock'))});
console.log('the last words');
`;
  await writeFile(program, text);
  await chmod(program, 0o700);
  await mkdir(join(scratch.path, 'run'));
  const wanted = {
    dataDir: join(scratch.path, 'data'),
    runDir: join(scratch.path, 'run'),
    member: 'm0',
    peerUrl: 'http://localhost:2380',
    quota: 2 ** 30,
  };
  const start = () => startTemporaryEtcd(program, wanted, [], never, limits);
  return { scratch, start };
}

it('is stopped in order', async () => {
  const { scratch, start } = await pretending('process.exit(0)');
  await using _scratch = scratch;
  await using etcd = await start();
  await etcd.stop();
});

it('that does not end when it is asked to is told as such, and ended', async () => {
  const { scratch, start } = await pretending('', { startMs: 20_000, stopMs: 100 });
  await using _scratch = scratch;
  await using etcd = await start();
  await expect(etcd.stop()).rejects.toMatchObject({
    code: 'io',
    why: expect.stringMatching(/it did not end in 0\.1 s; the end of its log: the last words/),
  });
});

it('that had ended by itself before is not waited for, nor taken for one that was stopped', async () => {
  const { scratch, start } = await pretending('process.exit(0)');
  await using _scratch = scratch;
  await using etcd = await start();
  const socket = connect(join(scratch.path, 'run/client.sock'));
  socket.on('error', () => socket.destroy());
  socket.write('GET /crash HTTP/1.1\r\nHost: etcd\r\n\r\n');
  await once(socket, 'close');
  await expect(etcd.stop()).rejects.toMatchObject({ why: expect.stringMatching(/it (?:had )?ended .*3/) });
});

it('that ends otherwise than in order has perhaps not written everything', async () => {
  const { scratch, start } = await pretending('process.exit(5)');
  await using _scratch = scratch;
  await using etcd = await start();
  await expect(etcd.stop()).rejects.toMatchObject({ why: expect.stringMatching(/it ended with 5/) });
});

it('that takes requests and never answers one is given up', async () => {
  const { scratch, start } = await pretending('', { startMs: 1_500, stopMs: 100 }, false);
  await using _scratch = scratch;
  await expect(start()).rejects.toMatchObject({
    code: 'io',
    why: expect.stringMatching(/it did not answer in 1\.5 s/),
  });
});
