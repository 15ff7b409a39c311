import { execFile } from 'node:child_process';
import { copyFile, mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { scratchDir } from '../support/scratch.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

type Source = readonly [file: string, text: string];
type Findings = ReadonlyMap<string, readonly string[]>;

/** A file as it would stand in `src/`, and what it imports. */
const forbidden: readonly (readonly [file: string, imported: string])[] = [
  ['snapshot/a.ts', '../kube/client.ts'],
  ['snapshot/b.ts', '../stores/s3-store.ts'],
  ['snapshot/c.ts', '../config/types.ts'],
  ['snapshot/d.ts', '@aws-sdk/client-s3'],
  ['config/a.ts', '../kube/client.ts'],
  ['config/b.ts', '../stores/local-store.ts'],
  ['crds/a.ts', '../kube/client.ts'],
  ['crds/b.ts', '@kubernetes/client-node'],
  ['crds/c.ts', 'node:fs/promises'],
  ['stores/a.ts', '../kube/client.ts'],
  ['stores/b.ts', '../crds/mapping.ts'],
  ['stores/local-a.ts', '@aws-sdk/client-s3'],
  ['stores/s3-a.ts', '@kubernetes/client-node'],
  ['etcd/a.ts', '../stores/local-store.ts'],
  ['etcd/b.ts', '../kube/client.ts'],
  ['kube/a.ts', '../snapshot/save-snapshot.ts'],
  ['kube/b.ts', '../reconcilers/inventory.ts'],
  ['kube/c.ts', '@aws-sdk/client-s3'],
  ['reconcilers/a.ts', '../stores/s3-store.ts'],
  ['reconcilers/b.ts', '../controllers/work-queue.ts'],
  ['controllers/a.ts', '../etcd/snapshot-source.ts'],
  ['controllers/b.ts', '@aws-sdk/client-s3'],
  ['cli/a.ts', '../kube/client.ts'],
  ['cli/b.ts', '../controllers/work-queue.ts'],
  ['cli/c.ts', '@aws-sdk/client-s3'],
  ['app.ts', './cli/root.ts'],
  ['snapshot/e.ts', '../timers.ts'],
  ['reconcilers/c.ts', '../timers.ts'],
  ['timers.ts', './config/types.ts'],
  ['errors.ts', './config/types.ts'],
];

const allowed: readonly (readonly [file: string, imported: string])[] = [
  ['snapshot/z.ts', '../errors.ts'],
  ['config/z.ts', '../errors.ts'],
  ['crds/z.ts', '../snapshot/snapshot.ts'],
  ['stores/z.ts', '../snapshot/ports.ts'],
  ['stores/s3-z.ts', '@aws-sdk/client-s3'],
  ['etcd/z.ts', '../config/types.ts'],
  ['kube/y.ts', '../crds/mapping.ts'],
  ['kube/z.ts', '@kubernetes/client-node'],
  ['kube/x.ts', '../timers.ts'],
  ['reconcilers/z.ts', '../snapshot/ports.ts'],
  ['controllers/y.ts', '../timers.ts'],
  ['controllers/z.ts', '../reconcilers/inventory.ts'],
  ['cli/y.ts', '../app.ts'],
  ['cli/z.ts', '../controllers/manager.ts'],
];

const importing = (imported: string) => `import { thing } from '${imported}';\nexport const x = thing;\n`;
const importingLate = (imported: string) => `export const x = () => import('${imported}');\n`;

const restricted = 'eslint(no-restricted-imports)';

describe('the lint rules', () => {
  let found: Findings;
  let foundLate: Findings;

  beforeAll(async () => {
    found = await lint([
      ...[...forbidden, ...allowed].map(([file, imported]): Source => [file, importing(imported)]),
      ['reconcilers/y.ts', "import type { Timers } from '../timers.ts';\nexport type X = Timers;\n"],
      ['cycle/a.ts', "import { b } from './b.ts';\nexport const a = () => b;\n"],
      ['cycle/b.ts', "import { a } from './a.ts';\nexport const b = () => a;\n"],
      ['long/over.ts', lines(301)],
      ['long/full.ts', lines(300)],
      ['promise/floating.ts', 'Promise.resolve(1);\n'],
    ]);
    foundLate = await lint(forbidden.map(([file, imported]): Source => [file, importingLate(imported)]));
  });

  it.each(forbidden)('keep src/%s from importing %s, at once or late', (file) => {
    expect(found.get(file)).toContain(restricted);
    expect(foundLate.get(file)).toContain(restricted);
  });

  it.each(allowed)('let src/%s import %s', (file) => {
    expect(found.get(file) ?? []).not.toContain(restricted);
  });

  it('let src/reconcilers/ name the type of timers that it is given', () => {
    expect(found.get('reconcilers/y.ts') ?? []).not.toContain(restricted);
  });

  it('refuse a cycle of imports', () => {
    expect(found.get('cycle/a.ts')).toContain('import(no-cycle)');
  });

  it('refuse line 301 of a source file, not line 300', () => {
    expect(found.get('long/over.ts')).toContain('eslint(max-lines)');
    expect(found.get('long/full.ts') ?? []).not.toContain('eslint(max-lines)');
  });

  it('refuse a promise that nobody waits for', () => {
    expect(found.get('promise/floating.ts')).toContain('typescript(no-floating-promises)');
  });
});

function lines(count: number): string {
  return Array.from({ length: count }, (_, at) => `export const x${at} = ${at};\n`).join('');
}

/** Lints these files under `src/` with the rules of this repository. @returns codes of the findings per file */
async function lint(sources: readonly Source[]): Promise<Findings> {
  await using scratch = await scratchDir('lint-');
  for (const [file, text] of sources) {
    const path = join(scratch.path, 'src', file);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
  }
  await copyFile(join(root, '.oxlintrc.json'), join(scratch.path, '.oxlintrc.json'));
  await copyFile(join(root, 'tsconfig.json'), join(scratch.path, 'tsconfig.json'));
  await symlink(join(root, 'node_modules'), join(scratch.path, 'node_modules'));
  const report = await new Promise<string>((resolve, reject) => {
    execFile(
      process.execPath,
      ['node_modules/oxlint/bin/oxlint', '--type-aware', '--format=json', 'src'],
      {
        cwd: scratch.path,
        maxBuffer: 16 * 1024 * 1024,
      },
      (error, stdout, stderr) => {
        // 1 means findings, which are what is asked for.
        if (error === null || error.code === 1) resolve(stdout);
        else reject(new Error(`oxlint failed:\n${stdout}${stderr}`, { cause: error }));
      },
    );
  });
  const { diagnostics } = JSON.parse(report) as { diagnostics: { code: string; filename: string }[] };
  const byFile = Map.groupBy(diagnostics, ({ filename }) => filename.replace(/^src\//, ''));
  return new Map([...byFile].map(([file, all]) => [file, all.map(({ code }) => code)]));
}
