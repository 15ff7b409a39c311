import { writeFile } from 'node:fs/promises';
import { manPage } from '../src/cli/man-page.ts';
import { cliReference } from '../src/cli/reference.ts';

await writeFile(new URL('../docs/cli.md', import.meta.url), cliReference());
await writeFile(new URL('../docs/etcd-snapshot.1', import.meta.url), manPage());
