import { execFile } from 'node:child_process';
import { copyFile, mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { scratchDir } from '../support/scratch.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** What each file imports. */
type Cases = Readonly<Record<string, readonly string[]>>;
type Source = readonly [file: string, text: string];
/** What is said of each file. */
type Findings = ReadonlyMap<string, readonly string[]>;

/** Files as they would stand in `src/`, and what they must not import. */
const forbidden: Cases = {
  'snapshot/file.ts': [
    '../kube/client.ts',
    '../stores/s3-store.ts',
    '../config/types.ts',
    '@aws-sdk/client-s3',
    '../timers.ts',
    'node:fs/promises',
    'p-retry',
    'cron-parser',
    'vitest',
    './../stores/s3-store.ts',
  ],
  'snapshot/deep/a.ts': ['../../stores/s3-store.ts'],
  'snapshot/schedule.ts': ['node:fs'],
  'snapshot/file.test.ts': ['../stores/s3-store.ts'],
  'config/file.ts': [
    '../kube/client.ts',
    '../stores/local-store.ts',
    '../snapshot/save-snapshot.ts',
    '@aws-sdk/client-s3',
  ],
  'crds/file.ts': [
    '../kube/client.ts',
    '@kubernetes/client-node',
    'node:fs/promises',
    '../snapshot/save-snapshot.ts',
    '../config/types.ts',
  ],
  'stores/file.ts': [
    '../kube/client.ts',
    '../crds/mapping.ts',
    '../snapshot/save-snapshot.ts',
    '../config/flags.ts',
    'node:child_process',
    '@aws-sdk/client-s3',
  ],
  'stores/s3-file.ts': ['@kubernetes/client-node', '../snapshot/save-snapshot.ts', '../config/resolve.ts'],
  'etcd/file.ts': [
    '../stores/local-store.ts',
    '../kube/client.ts',
    '../config/resolve.ts',
    '../snapshot/save-snapshot.ts',
    '@aws-sdk/client-s3',
  ],
  'kube/file.ts': [
    '../snapshot/save-snapshot.ts',
    '../reconcilers/inventory.ts',
    '@aws-sdk/client-s3',
    'node:child_process',
    '../snapshot/snapshot.ts',
    '../snapshot/ports.ts',
  ],
  'reconcilers/file.ts': [
    '../stores/s3-store.ts',
    '../controllers/work-queue.ts',
    '../timers.ts',
    '../kube/snapshot-files-api.ts',
    '../config/s3-secret.ts',
    '../config/types.ts',
    'node:timers/promises',
  ],
  'controllers/file.ts': [
    '../etcd/snapshot-source.ts',
    '@aws-sdk/client-s3',
    '@kubernetes/client-node',
    '../stores/s3-store.ts',
    '../snapshot/save-snapshot.ts',
    '../snapshot/ports.ts',
    '../config/resolve.ts',
    '../config/types.ts',
  ],
  'ops/file.ts': ['@kubernetes/client-node', '../controllers/work-queue.ts', '../kube/client.ts'],
  'cli/file.ts': [
    '../kube/client.ts',
    '../controllers/work-queue.ts',
    '@aws-sdk/client-s3',
    '../crds/../kube/snapshot-event.ts',
    '../etcd/snapshot-source.ts',
  ],
  'app.ts': ['./cli/root.ts'],
  'operator/file.ts': ['../cli/root.ts', '@kubernetes/client-node'],
  'main.ts': ['./stores/local-store.ts'],
  'timers.ts': ['./config/types.ts'],
  'errors.ts': ['./config/types.ts'],
  'extra.ts': ['./app.ts', '@kubernetes/client-node'],
  'newcomers/file.ts': ['../snapshot/snapshot.ts', '@aws-sdk/client-s3'],
};

const allowed: Cases = {
  'snapshot/file.ts': ['./naming.ts', '../errors.ts'],
  'snapshot/schedule.ts': ['cron-parser'],
  'snapshot/file.test.ts': ['vitest'],
  'config/file.ts': ['../snapshot/naming.ts', '../errors.ts'],
  'crds/file.ts': ['../snapshot/snapshot.ts'],
  'crds/file.test.ts': ['../../test/support/crd-validator.ts'],
  'stores/file.ts': ['../snapshot/integrity.ts', '../snapshot/ports.ts'],
  'stores/s3-file.ts': ['@aws-sdk/client-s3'],
  'etcd/file.ts': ['../config/types.ts'],
  'kube/file.ts': ['../timers.ts', '../crds/mapping.ts', '@kubernetes/client-node'],
  'reconcilers/file.ts': ['../snapshot/ports.ts'],
  'controllers/file.ts': [
    '../config/s3-secret.ts',
    '../snapshot/schedule.ts',
    '../timers.ts',
    '../reconcilers/inventory.ts',
  ],
  'ops/file.ts': ['../timers.ts', 'prom-client'],
  'cli/file.ts': ['../operator/run-operator.ts', '../app.ts'],
  'app.ts': ['./stores/s3-store.ts'],
  'operator/file.ts': ['../controllers/live-s3.ts', '../stores/s3-store.ts'],
};

/** What they may import as a type, and not by value as `forbidden` has it. */
const allowedAsType: Cases = {
  'kube/file.ts': ['../snapshot/ports.ts'],
  'reconcilers/file.ts': ['../kube/snapshot-files-api.ts', '../config/types.ts', '../timers.ts'],
  'controllers/file.ts': ['../config/types.ts', '../snapshot/ports.ts'],
};

/** Ways to wait that need no import. */
const waits = ['setTimeout(() => {}, 1)', 'globalThis.setInterval(() => {}, 1)', 'AbortSignal.timeout(1)'];

const importing = (path: string, at: number) =>
  `import { a${at} } from '${path}';\nexport const b${at} = a${at};\n`;
const importingLate = (path: string, at: number) => `export const late${at} = () => import('${path}');\n`;
const passingOn = (path: string) => `export * from '${path}';\n`;
const importingType = (path: string, at: number) =>
  `import type { A${at} } from '${path}';\nexport type B${at} = A${at};\n`;

const restricted = (path: string) =>
  `eslint(no-restricted-imports) '${path}' import is restricted from being used by a pattern.`;

const pairs = (cases: Cases) =>
  Object.entries(cases).flatMap(([file, paths]) => paths.map((path) => [file, path] as const));
const written = (cases: Cases, text: (path: string, at: number) => string) =>
  Object.entries(cases).map(([file, paths]): Source => [file, paths.map(text).join('')]);

describe('the lint rules', () => {
  let refused: readonly Findings[];
  let letIn: Findings;
  let letInAsType: Findings;
  let rules: Findings;

  beforeAll(async () => {
    refused = [
      await lint(written(forbidden, importing)),
      await lint(written(forbidden, importingLate)),
      await lint(written(forbidden, passingOn)),
    ];
    letIn = await lint(written(allowed, importing));
    letInAsType = await lint(written(allowedAsType, importingType));
    rules = await lint([
      ...waits.map((wait, at): Source => [`reconcilers/wait-${at}.ts`, `export const x = () => ${wait};\n`]),
      ['cycle/a.ts', "import { b } from './b.ts';\nexport const a = () => b;\n"],
      ['cycle/b.ts', "import { a } from './a.ts';\nexport const b = () => a;\n"],
      ['long/over.ts', lines(301)],
      ['long/full.ts', lines(300)],
      ['promise/floating.ts', 'Promise.resolve(1);\n'],
    ]);
  });

  it.each(pairs(forbidden))('keep src/%s from importing %s: at once, late or to pass it on', (file, path) => {
    for (const found of refused) expect(found.get(file)).toContain(restricted(path));
  });

  it.each(pairs(allowed))('let src/%s import %s', (file, path) => {
    expect(letIn.get(file) ?? []).not.toContain(restricted(path));
  });

  it.each(pairs(allowedAsType))('let src/%s import types of %s', (file, path) => {
    expect(letInAsType.get(file) ?? []).not.toContain(restricted(path));
  });

  it.each(waits.map((wait, at) => [wait, at] as const))('keep src/reconcilers/ from %s', (_wait, at) => {
    expect(rules.get(`reconcilers/wait-${at}.ts`)).toContainEqual(
      expect.stringMatching(/no-restricted-(globals|properties)/),
    );
  });

  it('refuse a cycle of imports', () => {
    expect(rules.get('cycle/a.ts')).toContainEqual(expect.stringContaining('import(no-cycle)'));
  });

  it('refuse line 301 of a source file, not line 300', () => {
    expect(rules.get('long/over.ts')).toContainEqual(expect.stringContaining('eslint(max-lines)'));
    expect(rules.get('long/full.ts') ?? []).not.toContainEqual(expect.stringContaining('eslint(max-lines)'));
  });

  it('refuse a promise that nobody waits for', () => {
    expect(rules.get('promise/floating.ts')).toContainEqual(
      expect.stringContaining('typescript(no-floating-promises)'),
    );
  });
});

function lines(count: number): string {
  return Array.from({ length: count }, (_, at) => `export const x${at} = ${at};\n`).join('');
}

/** Lints these files under `src/` with the rules of this repository. @returns code and message of each finding, per file */
async function lint(sources: readonly Source[]): Promise<Findings> {
  await using scratch = await scratchDir('lint-');
  for (const [file, text] of sources) {
    const path = join(scratch.path, 'src', file);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
  }
  await copyFile(join(root, 'oxlint.config.ts'), join(scratch.path, 'oxlint.config.ts'));
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
  const { diagnostics } = JSON.parse(report) as {
    diagnostics: { code: string; message: string; filename: string }[];
  };
  const byFile = Map.groupBy(diagnostics, ({ filename }) => filename.replace(/^src\//, ''));
  return new Map(
    [...byFile].map(([file, all]) => [file, all.map(({ code, message }) => `${code} ${message}`)]),
  );
}
