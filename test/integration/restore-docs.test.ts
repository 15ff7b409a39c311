import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { usersOf } from '../../src/restore/running.ts';
import { etcdFlags, runCommand } from '../support/command.ts';
import { type EtcdCluster, startEtcd } from '../support/etcd-server.ts';
import { k3sBootstrap } from '../support/k3s-bootstrap.ts';
import { sleep } from '../support/processes.ts';
import { type RancherServer, rancherServer } from '../support/rancher-server.ts';

const PASSWORD = 'the-password-of-the-servers';
const page = new URL('../../docs/restore.md', import.meta.url);

let etcd: EtcdCluster;
let server: RancherServer;
let name: string;
let zip: string;
beforeAll(async () => {
  [etcd, server] = await Promise.all([startEtcd({ members: 3 }), rancherServer(PASSWORD)]);
  const objects = Array.from(
    { length: 40 },
    (_unused, at) => [`/registry/pods/default/${at}`, 'pod'] as const,
  );
  const file = { Content: Buffer.from('a file').toString('base64'), Timestamp: '2024-10-30T17:20:16Z' };
  const files = {
    ServerCA: file,
    ServerCAKey: file,
    ClientCA: file,
    ClientCAKey: file,
    ServiceKey: file,
    PasswdFile: file,
  };
  await etcd.put([
    k3sBootstrap(files, PASSWORD),
    ...objects,
    ['/registry/secrets/default/one', 'secret'],
    ['/registry/namespaces/kube-system', '2f0bdc0e-5fb2-4d6d-9f0e-0f6e1b0f3a11'],
  ]);
  for (const more of [[], ['--snapshot-compress']]) {
    const saved = await runCommand([
      'save',
      ...server.flags.slice(0, 3),
      ...more,
      ...etcdFlags(etcd.settings()),
    ]);
    expect(saved, saved.stderr).toMatchObject({ code: 0 });
  }
  const names = await readdir(join(server.root, 'db/snapshots'));
  name = names.find((one) => !one.endsWith('.zip')) ?? '';
  zip = names.find((one) => one.endsWith('.zip')) ?? '';
  // A restore is refused while other members still answer.
  for (const member of etcd.members) member.kill('SIGKILL');
  for (const { dataDir } of etcd.members) while ((await usersOf(dataDir)).length > 0) await sleep(20);
});
afterAll(async () => {
  for (const part of [etcd, server]) await part?.[Symbol.asyncDispose]();
});

/** On a server that is well set up, as in the page; what is particular to a test comes behind `shown`. */
async function transcript(shown: string, ...more: string[]): Promise<string> {
  const words = shown.replace('NAME.zip', zip).replace('NAME', name).split(' ');
  const result = await runCommand([...words, ...server.flags, ...more]);
  const tools = server.flags.at(-1) ?? '';
  const text = `# etcd-snapshot ${words.join(' ')}\n${result.stdout}${result.stderr}`;
  const where = ` --data-dir=${server.root.replace(/\/server$/, '')}`;
  return named(
    text
      .replaceAll(where, '')
      .replaceAll(server.root, '/var/lib/rancher/k3s/server')
      .replaceAll('https://127.0.0.1:6443', 'https://10.0.0.1:6443')
      .replaceAll(` ${tools}`, ''),
  );
}

/** Members of the page have names as K3s gives them, and addresses of their own. */
function named(text: string): string {
  const ports = etcd.members.map(({ peerUrl }) => peerUrl);
  return ports.reduce(
    (before, url, at) =>
      before
        .replaceAll(url, `https://10.0.0.${at + 1}:2380`)
        .replaceAll(new RegExp(`\\bm${at}\\b`, 'g'), `server-${at + 1}-1a2b3c4${at}`),
    text,
  );
}

/** Numbers and hashes of one run are not those of another. */
function alike(text: string): string {
  return text
    .replaceAll(/\b[0-9a-f]{64}\b/g, '<SHA-256>')
    .replaceAll(/etcd-restore-[0-9a-f]{8}(?:-[0-9a-f]+){4}/g, '<token>')
    .replaceAll(/(server-\d)-[0-9a-f]{8}\b/g, '$1-<id>')
    .replaceAll(/\b\d+\.\d s\b/g, '<seconds>')
    .replaceAll(/INFO\[\d+\]/g, 'INFO[]')
    .replaceAll(/\b\d{2,}\b/g, '<number>')
    .replaceAll(/(\.\d+){2}\b/g, '<version>');
}

it('docs/restore.md shows what the commands write; WRITE_TRANSCRIPTS=1 puts it there', async () => {
  const peer = `--peer-url=${etcd.members[0]?.peerUrl}`;
  const produced = [
    await transcript('verify NAME.zip'),
    await transcript('restore --dry-run NAME', peer),
    await transcript('restore --yes NAME', peer, '--token=another'),
    await transcript('restore --yes NAME', peer),
    await transcript('restore --yes --rollback'),
    await transcript('restore --yes --rejoin', '--server=https://10.0.0.1:6443'),
  ];
  let text = await readFile(page, 'utf8');
  const blocks = [...text.matchAll(/```console\n(.*?)```/gs)];
  expect(blocks).toHaveLength(produced.length);
  if (process.env['WRITE_TRANSCRIPTS'] !== undefined) {
    let at = 0;
    text = text.replaceAll(/```console\n(.*?)```/gs, () => `\`\`\`console\n${produced[at++]}\`\`\``);
    await writeFile(page, text);
    return;
  }
  expect(blocks.map((block) => alike(block[1] ?? ''))).toEqual(produced.map(alike));
});
