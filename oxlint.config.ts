import { defineConfig, type OxlintOverride } from 'oxlint';

/**
 * Who may import whom, which CONTRIBUTING.md tells as a table. What is not listed is refused: a new folder or a new
 * package has to get its place here first.
 */
interface Border {
  /** A folder of `src/` (`kube/`), a file of it (`app.ts`), or some files of a folder (`stores/s3-*.ts`). */
  readonly place: string;
  /** Of `src/`, besides the own folder: `errors`, `config/types`, `crds/*`. */
  readonly src?: readonly string[];
  /** As `src`, but types only. Names nothing that `src` names. */
  readonly types?: readonly string[];
  /** Packages and modules of Node. */
  readonly packages?: readonly string[];
  readonly message: string;
}

const domain = {
  src: ['errors'],
  packages: ['node:crypto', 'node:stream', 'node:stream/promises', 'node:zlib'],
};

const disk = [
  'node:buffer',
  'node:crypto',
  'node:events',
  'node:fs',
  'node:fs/promises',
  'node:net',
  'node:os',
  'node:path',
  'node:stream',
  'node:stream/promises',
  'node:timers/promises',
  'node:util',
  'node:worker_threads',
  'node:zlib',
  'p-map',
  'p-retry',
];

const store = {
  src: [
    'errors',
    'timers',
    'snapshot/ports',
    'snapshot/snapshot',
    'snapshot/naming',
    'snapshot/integrity',
    'snapshot/store-check',
    'config/types',
    'config/pem',
  ],
};

const everythingButTheCommandLine = [
  'app',
  'recovery',
  'fetch-snapshot',
  'init-system',
  'removal',
  'errors',
  'logger',
  'timers',
  'config/*',
  'snapshot/*',
  'restore/*',
  'etcd/*',
  'stores/*',
  'crds/*',
  'kube/*',
  'reconcilers/*',
  'controllers/*',
  'operator/beside-k3s',
  'ops/*',
];

/** The more particular place comes after the more general one. */
const borders: readonly Border[] = [
  { place: '', src: ['errors'], message: 'this place has no border yet: give it one in oxlint.config.ts' },
  { place: 'errors.ts', message: 'errors.ts is imported by all and imports nothing' },
  {
    place: 'timers.ts',
    src: ['errors'],
    types: ['snapshot/ports'],
    message: 'timers.ts is imported by many and imports errors and types of snapshot/ports only',
  },
  {
    place: 'logger.ts',
    src: ['errors', 'config/types'],
    packages: ['pino'],
    message: 'logger.ts knows pino and nothing of what is logged',
  },
  {
    place: 'main.ts',
    src: ['errors', 'cli/*'],
    message: 'main.ts starts the command line and reaches everything through it',
  },
  ...['app.ts', 'removal.ts', 'recovery.ts', 'fetch-snapshot.ts', 'operator/'].map((place) => ({
    place,
    src: everythingButTheCommandLine,
    packages: ['node:*', 'node:*/*'],
    message: `${place} composes: SDKs stay behind stores/ and kube/, and the command line is not its business`,
  })),
  {
    place: 'init-system.ts',
    types: ['restore/what-runs'],
    packages: ['node:child_process', 'node:util'],
    message: 'init-system.ts asks what services run, and knows nothing of why',
  },
  {
    place: 'snapshot/',
    ...domain,
    message: 'snapshot/ is the domain: it does no I/O, and of src/ it imports errors only',
  },
  {
    place: 'snapshot/schedule.ts',
    ...domain,
    packages: [...domain.packages, 'cron-parser', 'croner'],
    message: 'of packages, schedule.ts imports the one that reads cron expressions',
  },
  {
    place: 'config/',
    src: ['errors', 'snapshot/naming', 'snapshot/schedule', 'snapshot/go-duration'],
    packages: [
      'fastest-levenshtein',
      'node:crypto',
      'node:fs/promises',
      'node:net',
      'node:path',
      'node:util',
      'yaml',
    ],
    message: 'config/ turns text into settings: it imports no SDK, and of the domain its grammars only',
  },
  {
    place: 'crds/',
    src: ['errors', 'snapshot/naming', 'snapshot/snapshot'],
    types: ['snapshot/ports'],
    packages: ['node:crypto', 'node:path', 'node:util'],
    message: 'crds/ is pure: no SDK, no I/O, and of snapshot/ what a snapshot is and how it is named',
  },
  {
    place: 'stores/',
    ...store,
    packages: disk,
    message:
      'stores/ imports ports and proof of snapshot/, types of config/, and the AWS SDK in s3-*.ts only',
  },
  {
    place: 'stores/s3-*.ts',
    ...store,
    packages: [
      ...disk,
      '@aws-sdk/*',
      '@smithy/*',
      'node:dns/promises',
      'node:http',
      'node:https',
      'node:tls',
    ],
    message: 'stores/ imports ports and proof of snapshot/ and types of config/; it knows no Kubernetes',
  },
  {
    place: 'restore/',
    src: ['errors', 'snapshot/*', 'config/token', 'stores/atomic-write'],
    types: ['config/types', 'config/restore-settings'],
    packages: [
      'node:crypto',
      'node:fs',
      'node:fs/promises',
      'node:net',
      'node:os',
      'node:path',
      'node:stream',
      'node:timers/promises',
      'node:zlib',
      'yaml',
      'yauzl',
    ],
    message: 'restore/ knows files and databases; programs, S3 and the terminal reach it as ports',
  },
  {
    place: 'etcd/',
    src: ['errors', 'snapshot/ports', 'snapshot/snapshot', 'snapshot/integrity', 'config/types'],
    types: ['restore/ports'],
    packages: [
      'node:buffer',
      'node:child_process',
      'node:crypto',
      'node:events',
      'node:fs',
      'node:fs/promises',
      'node:http',
      'node:http2',
      'node:net',
      'node:os',
      'node:path',
      'node:stream',
      'node:stream/promises',
      'node:timers/promises',
      'node:tls',
      'node:util',
    ],
    message: 'etcd/ imports ports and proof of snapshot/ and types of config/, and no SDK',
  },
  {
    place: 'kube/',
    src: ['errors', 'timers', 'crds/*'],
    types: ['snapshot/ports', 'snapshot/snapshot'],
    packages: [
      '@kubernetes/client-node',
      'node:buffer',
      'node:crypto',
      'node:events',
      'node:fs',
      'node:fs/promises',
      'node:http',
      'node:https',
      'node:net',
      'node:path',
      'node:stream',
      'node:stream/promises',
      'node:string_decoder',
      'node:tls',
      'node:util',
      'node:zlib',
      'p-map',
      'p-retry',
      'undici',
    ],
    message: 'kube/ talks to the API server: it imports crds/ and types of snapshot/, and starts no process',
  },
  {
    place: 'reconcilers/',
    src: ['errors', 'snapshot/*', 'crds/*'],
    types: ['config/*', 'kube/*', 'timers'],
    packages: ['node:crypto', 'node:path', 'node:util', 'p-map'],
    message:
      'reconcilers/ says what should be true: it gets the world as ports, and does not know when it runs',
  },
  {
    place: 'controllers/',
    src: [
      'errors',
      'timers',
      'reconcilers/*',
      'kube/*',
      'crds/*',
      'ops/*',
      'snapshot/schedule',
      'config/s3-secret',
    ],
    // Not `snapshot/*` and `config/*`: of some of their files the values may be imported too.
    types: [
      'snapshot/ports',
      'snapshot/snapshot',
      'snapshot/save-snapshot',
      'snapshot/retention',
      'config/types',
      'config/operator-settings',
    ],
    packages: ['node:crypto', 'node:events', 'node:path', 'node:util', 'p-map'],
    message: 'controllers/ decides when, not what: it reaches stores and etcd through reconcilers/',
  },
  {
    place: 'ops/',
    src: ['errors', 'timers'],
    packages: ['node:events', 'node:http', 'node:net', 'node:util', 'prom-client'],
    message: 'ops/ shows numbers and health that others tell it',
  },
  {
    place: 'cli/',
    src: [
      'app',
      'recovery',
      'operator/run-operator',
      'operator/uninstall',
      'errors',
      'logger',
      'restore/*',
      'snapshot/*',
      'config/*',
      'crds/*',
    ],
    types: ['removal'],
    packages: [
      'fastest-levenshtein',
      'node:fs',
      'node:fs/promises',
      'node:os',
      'node:path',
      'node:process',
      'node:readline/promises',
      'node:stream',
      'node:stream/promises',
      'node:tty',
      'node:url',
      'node:util',
      'yaml',
    ],
    message: 'the command line reaches stores, etcd and the cluster through app.ts and operator/, and no SDK',
  },
];

/** Beside what the tested file may import, by value too. */
const forTests = ['vitest', 'node:*', 'node:*/*', '../test/support/*.ts', '../../test/support/*.ts'];

/**
 * The rule knows no list of what is allowed, but its groups are gitignore lists: all is refused, then `!` lets in again.
 * What one group lets in no other group can refuse; a regular expression can, so that is what keeps values out.
 */
function onlyFrom(
  allowed: readonly string[],
  types: readonly string[],
  message: string,
): NonNullable<OxlintOverride['rules']> {
  const group = ['**', ...[...allowed, ...types].map((path) => `!${path}`)];
  const regex = `^(${types.join('|').replaceAll('.', '\\.').replaceAll('*', '[^/]+')})$`;
  const noValues = { regex, allowTypeImports: true, message: `${message} (types only)` };
  return {
    'no-restricted-imports': [
      'error',
      { patterns: [...(types.length === 0 ? [] : [noValues]), { group, message }] },
    ],
  };
}

function overridesOf({ place, src = [], types = [], packages = [], message }: Border): OxlintOverride[] {
  const inFolder = place.includes('/');
  const paths = (names: readonly string[]) => names.map((name) => `${inFolder ? '../' : './'}${name}.ts`);
  const whole = place === '' || place.endsWith('/');
  const allowed = [...(inFolder ? ['./*.ts'] : []), ...paths(src), ...packages];
  return [
    {
      files: [whole ? `src/${place}**` : `src/${place}`],
      excludeFiles: ['**/*.test.ts'],
      rules: onlyFrom(allowed, paths(types), message),
    },
    {
      files: [whole ? `src/${place}**/*.test.ts` : `src/${place.replace(/ts$/, 'test.ts')}`],
      rules: onlyFrom(['./*.ts', ...allowed, ...paths(types), ...forTests], [], message),
    },
  ];
}

const timers = ['setTimeout', 'setInterval', 'setImmediate'];
const noTimers =
  'reconcilers/ does not know when it runs; a controller does, and its timers can be driven by a test';

export default defineConfig({
  plugins: ['typescript', 'import', 'unicorn', 'promise'],
  categories: { correctness: 'error' },
  rules: {
    'import/no-cycle': 'error',
    'max-lines': ['error', { max: 300 }],
    'typescript/await-thenable': 'error',
    'typescript/no-floating-promises': 'error',
    'typescript/no-misused-promises': 'error',
    'typescript/no-non-null-assertion': 'error',
    'typescript/only-throw-error': 'error',
    'typescript/prefer-promise-reject-errors': 'off',
    'typescript/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
    'promise/no-callback-in-promise': 'off',
  },
  overrides: [
    { files: ['test/**', 'bench/**'], rules: { 'max-lines': ['error', { max: 400 }] } },
    ...borders.flatMap(overridesOf),
    {
      files: ['src/reconcilers/**'],
      rules: {
        'no-restricted-globals': ['error', ...timers.map((name) => ({ name, message: noTimers }))],
        'no-restricted-properties': [
          'error',
          ...timers.map((property) => ({ object: 'globalThis', property, message: noTimers })),
          { object: 'AbortSignal', property: 'timeout', message: noTimers },
        ],
      },
    },
  ],
});
