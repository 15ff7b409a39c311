import { SnapshotError } from '../errors.ts';
import { HASH_BYTES } from '../snapshot/integrity.ts';

/** gRPC: one byte "compressed", four bytes length (big endian), then the message. */
const PREFIX_BYTES = 5;
/** etcd sends blobs of 32 KiB; a message this long is not etcd. */
const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

const FIELD_REMAINING = 2;
const FIELD_BLOB = 3;

type State = 'prefix' | 'tag' | 'varint' | 'length' | 'blob' | 'skip';

/**
 * Takes the DATA of a Maintenance.Snapshot call apart in place: SnapshotResponse messages
 * {1 header, 2 remaining_bytes, 3 blob, 4 version} become slices of the received buffers, nothing is copied.
 * Messages may begin and end anywhere in a buffer.
 */
export class SnapshotFrames {
  /** Size of the whole snapshot with its trailing hash; known after the first message. */
  announced: number | undefined;
  #state: State = 'prefix';
  #prefix = 0;
  #prefixBytes = 0;
  /** Bytes left in the message, and in the field that is being read. */
  #messageLeft = 0;
  #fieldLeft = 0;
  #field = 0;
  #varint = 0;
  #shift = 1;
  #blobBytes = 0;
  #remaining = 0;

  /** Whether the stream may end here: between two messages. */
  get atBoundary(): boolean {
    return this.#state === 'prefix' && this.#prefixBytes === 0;
  }

  /**
   * @param sink gets the slices of the snapshot, in order
   * @throws SnapshotError `protocol` when this is not what etcd sends
   */
  push(chunk: Uint8Array, sink: (slice: Uint8Array) => void): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#state === 'blob' || this.#state === 'skip') {
        const end = Math.min(chunk.length, at + this.#fieldLeft);
        if (this.#state === 'blob') {
          sink(chunk.subarray(at, end));
          this.#blobBytes += end - at;
        }
        this.#consume(end - at);
        this.#fieldLeft -= end - at;
        at = end;
        if (this.#fieldLeft === 0) this.#endField();
      } else {
        this.#byte(chunk[at] ?? 0);
        at += 1;
      }
    }
  }

  #byte(byte: number): void {
    if (this.#state === 'prefix') {
      this.#prefixByte(byte);
      return;
    }
    this.#consume(1);
    this.#varint += (byte & 0x7f) * this.#shift;
    this.#shift *= 128;
    if (byte & 0x80) {
      if (this.#shift > 2 ** 70 || this.#messageLeft === 0)
        throw notEtcd('a number in a message does not end');
      return;
    }
    const value = this.#varint;
    this.#varint = 0;
    this.#shift = 1;
    this.#value(value);
  }

  #prefixByte(byte: number): void {
    if (this.#prefixBytes === 0) {
      if (byte !== 0)
        throw notEtcd(`a message begins with byte ${byte}; only uncompressed messages were asked for`);
    } else {
      this.#prefix = this.#prefix * 256 + byte;
    }
    this.#prefixBytes += 1;
    if (this.#prefixBytes < PREFIX_BYTES) return;
    if (this.#prefix > MAX_MESSAGE_BYTES) throw notEtcd(`a message claims ${this.#prefix} bytes`);
    this.#messageLeft = this.#prefix;
    this.#prefix = 0;
    this.#prefixBytes = 0;
    this.#state = 'tag';
    if (this.#messageLeft === 0) this.#endMessage();
  }

  /** A whole varint was read; what it means depends on where we are. */
  #value(value: number): void {
    if (this.#state === 'tag') {
      this.#field = Math.floor(value / 8);
      this.#state = this.#afterTag(value % 8);
      return;
    }
    if (this.#state === 'varint') {
      if (this.#field === FIELD_REMAINING) this.#remaining = value;
      this.#endField();
      return;
    }
    if (value > this.#messageLeft) throw notEtcd('a field is longer than its message');
    this.#fieldLeft = value;
    this.#state = this.#field === FIELD_BLOB ? 'blob' : 'skip';
    if (value === 0) this.#endField();
  }

  #afterTag(wireType: number): State {
    if (wireType === 0) return 'varint';
    if (wireType === 2) return 'length';
    throw notEtcd(`a field of wire type ${wireType}`);
  }

  #consume(bytes: number): void {
    this.#messageLeft -= bytes;
    if (this.#messageLeft < 0) throw notEtcd('a field is longer than its message');
  }

  #endField(): void {
    this.#state = 'tag';
    if (this.#messageLeft === 0) this.#endMessage();
  }

  #endMessage(): void {
    this.#state = 'prefix';
    this.announced ??= this.#blobBytes + this.#remaining + HASH_BYTES;
  }
}

function notEtcd(why: string): SnapshotError {
  return new SnapshotError('protocol', 'The endpoint does not answer like etcd', {
    why,
    hint: 'Check --etcd-servers: it must name the client port of an etcd member (usually 2379).',
  });
}
