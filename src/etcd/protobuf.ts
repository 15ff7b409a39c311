/** One field of a protobuf message: a number for varints (exact up to 2^64), bytes for everything length-delimited. */
export interface ProtobufField {
  readonly field: number;
  readonly value: bigint | Uint8Array;
}

/**
 * Reads the fields of a small message in order. Fixed-width fields, which etcd's replies do not use, end the reading.
 * @throws RangeError when the message is cut short
 */
export function* readFields(message: Uint8Array): Generator<ProtobufField> {
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = message[at];
      if (byte === undefined) throw new RangeError('the message is cut short');
      at += 1;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw new RangeError('a number in the message does not end');
  };
  while (at < message.length) {
    const tag = Number(varint());
    const field = tag >> 3;
    if ((tag & 7) === 0) {
      yield { field, value: varint() };
    } else if ((tag & 7) === 2) {
      const length = Number(varint());
      if (at + length > message.length) throw new RangeError('the message is cut short');
      yield { field, value: message.subarray(at, at + length) };
      at += length;
    } else {
      throw new RangeError(`wire type ${tag & 7} is not used by etcd`);
    }
  }
}
