import { readFile } from 'node:fs/promises';
import { dirname, isAbsolute } from 'node:path';
import { asError, SnapshotError, systemCode } from '../errors.ts';
import { type Journal, purposes, steps } from './journal.ts';

type Wanted = readonly [field: string, wanted: string, holds: (value: unknown) => boolean];

const isText = (value: unknown): value is string => typeof value === 'string';
const isName = (value: unknown) => isText(value) && value !== '';
const isPath = (value: unknown): value is string =>
  isText(value) && isAbsolute(value) && !/\/\.\.?(?:\/|$)/.test(value);
const isCount = (value: unknown) => typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
const isFlag = (value: unknown) => typeof value === 'boolean';
const orNothing = (holds: (value: unknown) => boolean) => (value: unknown) =>
  value === undefined || holds(value);
const isMove = (value: unknown) => isPath(fieldOf(value, 'from')) && isPath(fieldOf(value, 'to'));

const always: readonly Wanted[] = [
  ['version', '1', (value) => value === 1],
  ['purpose', purposes.join(', '), (value) => isText(value) && purposes.some((one) => one === value)],
  ['began', 'seconds since 1970', isCount],
  ['places.dataDir', 'an absolute path', isPath],
  [
    'places.workDir',
    'an absolute path that ends in -restore-<seconds>',
    (path) => isText(path) && isPath(path) && /-restore-\d+$/.test(path),
  ],
  [
    'places.oldDir',
    'an absolute path that ends in -old-<seconds>',
    (path) => isText(path) && isPath(path) && /-old-\d+$/.test(path),
  ],
  ['places.serverDir', 'an absolute path', orNothing(isPath)],
  ['places.mounted', 'true or false', isFlag],
  ['places.manifests.dir', 'an absolute path', orNothing(isPath)],
  ['places.manifests.away', 'an absolute path', orNothing(isPath)],
  ['places.manifests.initialCluster', 'name=url of all members', orNothing(isName)],
  ['member', 'a name', isName],
  ['peerUrl', 'a URL', (value) => isText(value) && URL.canParse(value)],
  ['clusterToken', 'a name', isName],
  ['bumpRevision', 'a number', isCount],
  ['bumpWanted', 'a number', isCount],
  ['owner.uid', 'a number', isCount],
  ['owner.gid', 'a number', isCount],
  ['hadData', 'true or false', isFlag],
  ['step', steps.join(', '), orNothing((value) => isText(value) && steps.some((one) => one === value))],
  ['rollback.begun', 'a number', orNothing(isCount)],
  [
    'rollback.moves',
    'a list of absolute paths, each with from and to',
    orNothing((value) => Array.isArray(value) && value.every(isMove)),
  ],
];

const ofSnapshot: readonly Wanted[] = [
  ['snapshot.path', 'an absolute path', isPath],
  [
    'snapshot.sha256',
    '64 hex digits, or nothing for a reset',
    (value) => isText(value) && /^(?:[0-9a-f]{64})?$/.test(value),
  ],
  ['snapshot.compressed', 'true or false', isFlag],
  ['snapshot.plainSize', 'a number', isCount],
  ['snapshot.revision', 'a number', isCount],
  ['snapshot.records', 'a number', isCount],
];

/** @throws SnapshotError `corrupt` naming the field when it cannot be read as a journal, and `io` */
export async function readJournal(path: string): Promise<Journal | undefined> {
  let journal: unknown;
  try {
    journal = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw notReadable(path, asError(error).message, error);
  }
  const completed = completedOfBefore(journal);
  if (isJournal(completed)) return completed;
  const problem = journalProblem(completed) ?? '';
  throw notReadable(path, problem);
}

function notReadable(path: string, why: string, cause?: unknown): SnapshotError {
  return new SnapshotError('corrupt', `The journal ${path} of a restore cannot be read`, {
    why,
    hint: 'Look at the folders beside it (…-old-…, …-restore-…); when the data are where they belong, remove the journal.',
    cause,
  });
}

/**
 * What is wrong with a journal that was read back, naming the field and its value; undefined: nothing is. A folder is deleted and
 * others are moved by what it says, so it is not taken on trust.
 */
function journalProblem(value: unknown): string | undefined {
  const wanted = fieldOf(value, 'purpose') === 'rejoin' ? always : [...always, ...ofSnapshot];
  for (const [field, what, holds] of wanted) {
    const found = field.split('.').reduce(fieldOf, value);
    if (!holds(found)) return `${field} is ${JSON.stringify(found) ?? 'missing'}, and must be ${what}`;
  }
  return beside(value);
}

/** One of an earlier version, which is done, has not all fields; what they would say matters to nobody who goes back or begins anew. */
function completedOfBefore(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || fieldOf(value, 'step') !== undefined) return value;
  return { clusterToken: 'etcd-cluster', bumpWanted: fieldOf(value, 'bumpRevision'), ...value };
}

function isJournal(value: unknown): value is Journal {
  return journalProblem(value) === undefined;
}

/** What is deleted and what is moved lies beside the data, or in them where they are a mount. */
function beside(value: unknown): string | undefined {
  const places = fieldOf(value, 'places');
  const dataDir = String(fieldOf(places, 'dataDir'));
  const folder = fieldOf(places, 'mounted') === true ? dataDir : dirname(dataDir);
  for (const name of ['workDir', 'oldDir']) {
    const path = String(fieldOf(places, name));
    if (dirname(path) !== folder)
      return `places.${name} is ${JSON.stringify(path)}, and must be in ${folder}`;
  }
  const parts = [fieldOf(value, 'rollback'), fieldOf(places, 'manifests')];
  const [rollback, manifests] = parts;
  if (rollback !== undefined && fieldOf(rollback, 'moves') === undefined) return 'rollback.moves is missing';
  if (manifests !== undefined && fieldOf(manifests, 'away') === undefined)
    return 'places.manifests.away is missing';
  return undefined;
}

function fieldOf(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined;
  return Object.hasOwn(value, name) ? Reflect.get(value, name) : undefined;
}
