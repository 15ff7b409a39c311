import { createReadStream, type Stats } from 'node:fs';
import { lstat, mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { abortError, asError, isSnapshotError, SnapshotError, systemCode } from '../errors.ts';
import { plausibleSnapshotSize } from '../snapshot/integrity.ts';
import { assertSnapshotName, nameProblem, parseCreatedAt, uncompressedName } from '../snapshot/naming.ts';
import type {
  ByteRange,
  NewSnapshot,
  SnapshotDraft,
  SnapshotFolder,
  SnapshotUpload,
  StoredSnapshot,
} from '../snapshot/ports.ts';
import type { Snapshot, SnapshotFacts } from '../snapshot/snapshot.ts';
import { syncFolder, writeAtomically } from './atomic-write.ts';
import { fromDiskError, missingFolder, notAFolder } from './disk-errors.ts';
import { lockFolder } from './folder-lock.ts';
import { LocalDraft, nameOfTemporary } from './local-draft.ts';

const COPY_BYTES = 1024 * 1024;

export interface LocalStoreOptions {
  readonly dir: string;
  /** A default folder is made (0700) when it is missing; a named one must exist, so that a missing mount shows. */
  readonly isDefaultDir: boolean;
  readonly nodeName: string;
}

/** The snapshot folder of this node; metadata lies beside it in `../.metadata/<name>`, as k3s keeps it. */
export function createLocalStore(options: LocalStoreOptions): SnapshotFolder {
  return new LocalStore(options);
}

class LocalStore implements SnapshotFolder {
  readonly kind = 'local';
  readonly #options: LocalStoreOptions;

  constructor(options: LocalStoreOptions) {
    this.#options = options;
  }

  async lock(signal: AbortSignal): Promise<AsyncDisposable> {
    await this.#ensureFolder();
    try {
      return await lockFolder(this.#options.dir, signal);
    } catch (error) {
      throw await fromDiskError(
        `Cannot take the snapshot folder ${this.#options.dir}`,
        this.#options.dir,
        error,
      );
    }
  }

  async create(snapshot: NewSnapshot): Promise<SnapshotDraft> {
    assertSnapshotName(snapshot.name);
    await this.#ensureFolder();
    return LocalDraft.create(this.#options.dir, snapshot, (facts, size) =>
      this.#describe(snapshot, facts, size),
    );
  }

  async put(upload: SnapshotUpload, signal: AbortSignal): Promise<StoredSnapshot> {
    await using draft = await this.create({ ...upload, expectedSize: upload.bytes.expectedSize });
    const buffer = Buffer.allocUnsafe(COPY_BYTES);
    for (let position = 0; ; ) {
      const read = await upload.bytes.read(buffer, position, signal);
      if (read > 0) await draft.write([buffer.subarray(0, read)]);
      position += read;
      upload.onProgress?.(position);
      if (read < buffer.length) break;
    }
    await upload.bytes.proven;
    if (signal.aborted) throw abortError(signal);
    draft.prove();
    return draft.commit(await upload.facts);
  }

  async list(signal: AbortSignal): Promise<readonly Snapshot[]> {
    const names = await this.#names();
    const found: Snapshot[] = [];
    for (const name of names) {
      if (signal.aborted) throw abortError(signal);
      const snapshot = await this.#look(name);
      if (snapshot !== undefined) found.push(snapshot);
    }
    return found;
  }

  async stat(name: string, _signal: AbortSignal): Promise<Snapshot | undefined> {
    assertSnapshotName(name);
    return this.#look(name);
  }

  async open(name: string, signal: AbortSignal, range?: ByteRange): Promise<AsyncIterable<Uint8Array>> {
    if ((await this.stat(name, signal)) === undefined) {
      throw new SnapshotError('not-found', `There is no snapshot ${name} in ${this.#options.dir}`, {
        hint: 'Run `etcd-snapshot ls` to see which there are.',
      });
    }
    if (range !== undefined && range.end <= range.start) return (async function* () {})();
    const bounds = range === undefined ? {} : { start: range.start, end: range.end - 1 };
    return createReadStream(this.#path(name), { ...bounds, signal });
  }

  async remove(name: string, _signal: AbortSignal): Promise<boolean> {
    assertSnapshotName(name);
    const existed = (await this.#look(name)) !== undefined;
    try {
      if (existed) {
        await rm(this.#path(name));
        await syncFolder(this.#options.dir);
      }
      await rm(this.#sidecar(name), { force: true });
    } catch (error) {
      throw await fromDiskError(`Cannot remove the snapshot ${name}`, this.#options.dir, error);
    }
    return existed;
  }

  /** Temporary files of this node only: k3s's own (`<name>.part`) and those of other nodes sharing the folder stay. */
  async sweep(_signal: AbortSignal): Promise<readonly string[]> {
    const swept: string[] = [];
    for (const file of await readdir(this.#options.dir)) {
      const name = nameOfTemporary(file);
      if (name === undefined || !this.#isOfThisNode(name)) continue;
      await rm(this.#path(file), { force: true });
      swept.push(file);
    }
    return swept;
  }

  #isOfThisNode(name: string): boolean {
    return uncompressedName(name).replace(/-\d+$/, '').endsWith(`-${this.#options.nodeName}`);
  }

  async #describe(snapshot: NewSnapshot, facts: SnapshotFacts, size: number): Promise<StoredSnapshot> {
    const { name, nodeName, createdAt, compressed } = snapshot;
    const warnings: Error[] = [];
    if (facts.metadata !== undefined && Object.keys(facts.metadata).length > 0) {
      const sidecar = this.#sidecar(name);
      await writeAtomically(sidecar, JSON.stringify(facts.metadata)).catch(async (error: unknown) => {
        warnings.push(
          await fromDiskError(`The metadata of ${name} could not be kept`, dirname(sidecar), error),
        );
      });
    }
    const location = { store: 'local' as const, path: this.#path(name) };
    return { snapshot: { ...facts, name, nodeName, createdAt, compressed, size, location }, warnings };
  }

  /** Regular files that are, by size or name, snapshots; links and what is hidden or half-made are not looked at. */
  async #look(name: string): Promise<Snapshot | undefined> {
    if (nameProblem(name) !== undefined || name.endsWith('.part')) return undefined;
    let file: Stats;
    try {
      file = await lstat(this.#path(name));
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw await fromDiskError(`Cannot look at ${this.#path(name)}`, this.#options.dir, error);
    }
    const compressed = name.endsWith('.zip');
    if (!file.isFile() || !(compressed || plausibleSnapshotSize(file.size))) return undefined;
    const metadata = await this.#metadata(name);
    return {
      name,
      nodeName: this.#options.nodeName,
      createdAt: parseCreatedAt(name) ?? new Date(Math.floor(file.mtimeMs / 1000) * 1000),
      size: file.size,
      compressed,
      location: { store: 'local', path: this.#path(name) },
      ...(metadata === undefined ? {} : { metadata }),
    };
  }

  /** Undefined when there is none, or none that can be read as what we write: the snapshot is good without it. */
  async #metadata(name: string): Promise<Record<string, string> | undefined> {
    try {
      const parsed: unknown = JSON.parse(await readFile(this.#sidecar(name), 'utf8'));
      if (typeof parsed !== 'object' || parsed === null) return undefined;
      return Object.fromEntries(Object.entries(parsed).filter(([, value]) => typeof value === 'string'));
    } catch (error) {
      if (systemCode(error) !== undefined || asError(error) instanceof SyntaxError) return undefined;
      throw error;
    }
  }

  async #names(): Promise<string[]> {
    const { dir, isDefaultDir } = this.#options;
    try {
      return await readdir(dir);
    } catch (error) {
      if (systemCode(error) === 'ENOENT') {
        if (isDefaultDir) return [];
        throw missingFolder(dir);
      }
      if (systemCode(error) === 'ENOTDIR') throw notAFolder(dir);
      throw await fromDiskError(`Cannot list the snapshot folder ${dir}`, dir, error);
    }
  }

  async #ensureFolder(): Promise<void> {
    const { dir, isDefaultDir } = this.#options;
    try {
      if (isDefaultDir) await mkdir(dir, { recursive: true, mode: 0o700 });
      if (!(await lstat(dir).then(async (file) => file.isSymbolicLink() || file.isDirectory())))
        throw notAFolder(dir);
    } catch (error) {
      if (isSnapshotError(error)) throw error;
      if (systemCode(error) === 'ENOENT') throw missingFolder(dir);
      if (systemCode(error) === 'EEXIST' || systemCode(error) === 'ENOTDIR') throw notAFolder(dir);
      throw await fromDiskError(`Cannot use the snapshot folder ${dir}`, dir, error);
    }
  }

  #path(name: string): string {
    return join(this.#options.dir, name);
  }

  #sidecar(name: string): string {
    return join(dirname(this.#options.dir), '.metadata', name);
  }
}
