import { createHash } from 'node:crypto';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { runCommand } from '../support/command.ts';
import { type EtcdCluster, startEtcd } from '../support/etcd-server.ts';
import { recordsOfNode } from '../support/records.ts';
import { saveScene } from '../support/save-scene.ts';
import { scratchDir } from '../support/scratch.ts';

let etcd: EtcdCluster;
beforeAll(async () => {
  etcd = await startEtcd();
});
afterAll(() => etcd?.[Symbol.asyncDispose]());

// NUL is missing here: no program can be given one. `src/cli/root.test.ts` has it.
describe('a name of a snapshot and of a node', () => {
  it.each([
    { what: 'a slash', value: 'a/b', says: 'it contains a path separator' },
    { what: 'a backslash', value: 'a\\b', says: 'it contains a path separator' },
    { what: 'the way out of the folder', value: '../x', says: 'it contains a path separator' },
    { what: 'two dots', value: '..', says: 'it begins with a dot' },
    { what: 'a name that hides', value: '.x', says: 'it begins with a dot' },
    { what: 'a line break', value: 'a\nb', says: 'it contains a control character' },
    { what: 'a control character', value: 'a\u001b[2Jb', says: 'it contains a control character' },
    { what: '300 characters', value: 'x'.repeat(300), says: 'is the most' },
    { what: '100 characters of three bytes', value: '語'.repeat(100), says: 'is the most' },
  ])('with $what are refused before anything begins', async ({ value, says }) => {
    await using scene = await saveScene({ etcd: etcd.settings() });
    const result = await scene.run([`--name=${value}`, `--node-name=${value}`]);
    expect(result.stderr.split('\n').filter((line) => line.startsWith('  - '))).toEqual([
      expect.stringMatching(new RegExp(`--node-name ".*${says}.*: give the name of the node$`)),
      expect.stringMatching(new RegExp(`--name ".*${says}.*: choose a plain and short file name$`)),
    ]);
    expect(result.stderr).not.toContain('\u001b');
    await scene.aftermath(result, { code: 2, local: 0, says: ['do:  Correct them'] });
  });
});

describe('a name with', () => {
  const digest = (nodeName: string, path: string) =>
    createHash('sha256').update(`${nodeName}file://${path}`).digest('hex').slice(0, 6);

  it.each([
    { what: 'upper case', name: 'Pre-Upgrade', recorded: 'pre-upgrade' },
    { what: 'dots', name: 'v1.33', recorded: 'v1.33' },
    { what: 'underscores', name: 'my_snap', recorded: 'etcd-snapshot' },
    { what: 'letters of another alphabet', name: 'снимок', recorded: 'etcd-snapshot' },
    { what: 'a space', name: 'my snap', recorded: 'etcd-snapshot' },
  ])('$what is kept as it is, and recorded under one that Kubernetes takes', async ({ name, recorded }) => {
    await using scene = await saveScene({ etcd: etcd.settings(), kubeconfig: inject('kubeconfig') });
    const result = await scene.run([`--name=${name}`]);
    expect(result.stderr).not.toContain('WARN');
    const [file = ''] = await scene.finals();
    expect(file).toMatch(new RegExp(`^${name.replaceAll('.', '\\.')}-${scene.nodeName}-\\d{10}$`));
    const time = file.split('-').at(-1);
    const [record] = await recordsOfNode(inject('kubeconfig'), scene.nodeName);
    expect(record).toMatchObject({
      metadata: {
        name: `local-${recorded}-${scene.nodeName}-${time}-${digest(scene.nodeName, join(scene.dir, file))}`,
      },
      spec: { snapshotName: file },
    });
    await scene.aftermath(result, { code: 0, local: 1 });
  });

  it('as many bytes as fit is taken, with the temporary name that is longer still', async () => {
    await using scene = await saveScene({ etcd: etcd.settings() });
    const most = 231 - `-${scene.nodeName}-253402214400`.length;
    expect((await scene.run([`--name=${'x'.repeat(most + 1)}`])).code).toBe(2);
    const result = await scene.run([`--name=${'x'.repeat(most)}`]);
    await scene.aftermath(result, { code: 0, local: 1 });
  });
});

describe('a command line with several mistakes', () => {
  it('tells all of them at once, and begins nothing', async () => {
    await using dir = await scratchDir();
    const { code, stdout, stderr } = await runCommand(
      [
        'save',
        '--distribution=k3s',
        `--data-dir=${dir.path}`,
        '--nmae=x',
        '--snapshot-compress=perhaps',
        '--s3',
        '--s3-timeout=5 minutes',
        '--s3-bucket=b',
        '--s3-endpoint=https://s3.example.com',
        '--s3-insecure',
        '--s3-secret-key=very-secret',
        '--etcd-s3-secret-key=another-very-secret',
        '--name=../x',
        '--node-name=s3',
        '--etcd-servers=127.0.0.1:2379',
        '--etcd-certfile=/some.crt',
        '--output=xml',
        '--all-nodes',
      ],
      { AWS_ACCESS_KEY_ID: 'AKIAVERYSECRET' },
    );
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    for (const part of [
      /^\d+ things are wrong with the command line$/m,
      '--nmae is no flag: did you mean --name?',
      '--snapshot-compress: "perhaps" is neither true nor false: use true or false',
      '--s3-timeout: "5 minutes" is no time span: use for instance 5m0s',
      'says https, --s3-insecure says http: leave one of them out',
      '--s3-secret-key and --etcd-s3-secret-key are the same setting with different values: give one of them',
      '--name "../x": it contains a path separator',
      '--node-name "s3": records of that node would pass for copies on S3',
      '--etcd-servers: "127.0.0.1:2379" is no address of etcd: write https://host:2379',
      '--etcd-certfile and --etcd-keyfile belong together',
      '--output: "xml" is not one of table, json, yaml',
      '--all-nodes has no meaning for save',
      /^ {2}do: {2}Correct them, or see --help\.$/m,
    ]) {
      expect(stderr).toMatch(part);
    }
    expect(stderr).not.toMatch(/very-?secret/i);
    await expect(access(join(dir.path, 'server'))).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
