import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundle } from './bundle.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const outdir = resolve(root, process.argv[2] ?? 'dist');

const files = Object.values(await bundle(['src/main.ts'], outdir));
const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
process.stdout.write(`==> ${outdir}: ${files.length} files, ${(bytes / 1e6).toFixed(1)} MB\n`);
