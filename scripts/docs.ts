import { readFile, writeFile } from 'node:fs/promises';
import { manPage } from '../src/cli/man-page.ts';
import { cliReference, s3SettingsTable } from '../src/cli/reference.ts';

const docs = new URL('../docs/', import.meta.url);
await writeFile(new URL('cli.md', docs), cliReference());
await writeFile(new URL('etcd-snapshot.1', docs), manPage());

const s3 = new URL('s3.md', docs);
const page = await readFile(s3, 'utf8');
const table = /(<!-- settings:[^>]*-->\n)[\s\S]*?(<!-- \/settings -->)/;
if (!table.test(page)) throw new Error('docs/s3.md has no place for the settings');
await writeFile(
  s3,
  page.replace(table, (_all, begin: string, end: string) => `${begin}${s3SettingsTable()}\n${end}`),
);
