import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { scratchDir } from '../../test/support/scratch.ts';
import type { S3Settings } from '../config/types.ts';
import { noteCalls, noteUpload, readNotes } from './s3-journal.ts';

const name = 'on-demand-node-1-1730308816';
const settings: S3Settings = {
  endpoint: 's3.example.com',
  endpointCA: '',
  skipSSLVerify: false,
  insecure: false,
  keys: undefined,
  bucket: 'bucket',
  region: 'us-east-1',
  folder: 'folder',
  timeoutMs: 1000,
  stallMs: 30_000,
  proxy: 'environment',
  lookup: 'auto',
  checksums: 'when-required',
  encryption: { kind: 'none' },
  objects: { storageClass: undefined, acl: undefined, tags: new Map() },
};

it('notes where an upload goes, then which one it is', async () => {
  await using dir = await scratchDir();
  const note = await noteUpload(dir.path, settings, { name, nodeName: 'node-1' });
  const [begun] = await readNotes(dir.path, settings, 'node-1');
  expect(begun).toMatchObject({ key: `folder/${name}`, uploadId: undefined, mayHaveOthers: true });
  await note.begun('id', false);
  const [known] = await readNotes(dir.path, settings, 'node-1');
  expect(known).toMatchObject({ key: `folder/${name}`, uploadId: 'id', mayHaveOthers: false });
  await note.remove();
  expect(await readdir(dir.path)).toEqual([]);
});

it('is about this node, endpoint and bucket only', async () => {
  await using dir = await scratchDir();
  await noteUpload(dir.path, settings, { name, nodeName: 'node-1' });
  expect(await readNotes(dir.path, settings, 'node-2')).toEqual([]);
  expect(await readNotes(dir.path, { ...settings, bucket: 'other' }, 'node-1')).toEqual([]);
  expect(await readNotes(dir.path, { ...settings, endpoint: 'other' }, 'node-1')).toEqual([]);
  expect(await readNotes(dir.path, settings, 'node-1')).toHaveLength(1);
});

it.each(['', '{"version":1,"endp'])(
  'counts one that was cut off at %j by the key in its name',
  async (text) => {
    await using dir = await scratchDir();
    await noteUpload(dir.path, settings, { name, nodeName: 'node-1' });
    const [file] = await readdir(dir.path);
    await writeFile(join(dir.path, file ?? ''), text);
    expect(await readNotes(dir.path, settings, 'node-1')).toMatchObject([
      { key: `folder/${name}`, uploadId: undefined, mayHaveOthers: true },
    ]);
  },
);

it('has room beside the longest name of a snapshot', async () => {
  await using dir = await scratchDir();
  await noteUpload(dir.path, settings, { name: 'x'.repeat(231), nodeName: 'node-1' });
  expect(await readNotes(dir.path, settings, 'node-1')).toHaveLength(1);
});

it('outlives a power cut: each line is flushed, and the name of the note too', async () => {
  await using dir = await scratchDir();
  const diary: unknown[] = [];
  const calls: typeof noteCalls = {
    writeFile: async (file, data, options) => {
      diary.push(['write', options]);
      await noteCalls.writeFile(file, data, options);
    },
    appendFile: async (file, data, options) => {
      diary.push(['append', options]);
      await noteCalls.appendFile(file, data, options);
    },
    syncFolder: async (path) => {
      diary.push(['folder', path]);
      await noteCalls.syncFolder(path);
    },
  };
  const note = await noteUpload(dir.path, settings, { name, nodeName: 'node-1' }, calls);
  await note.begun('id', false);
  expect(diary).toEqual([
    ['write', expect.objectContaining({ flush: true, flag: 'wx', mode: 0o600 })],
    ['folder', dir.path],
    ['append', expect.objectContaining({ flush: true })],
  ]);
});
