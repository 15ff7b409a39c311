function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 128) {
    bytes.push((rest % 128) | 0x80);
    rest = Math.floor(rest / 128);
  }
  return [...bytes, rest];
}

/** A message of Maintenance.Snapshot as gRPC sends it. */
export function snapshotMessage(fields: {
  header?: Buffer;
  remaining?: number;
  blob?: Buffer;
  version?: string;
}): Buffer {
  const parts: Buffer[] = [];
  const lengthDelimited = (tag: number, body: Buffer) =>
    parts.push(Buffer.from([tag, ...varint(body.length)]), body);
  if (fields.header !== undefined) lengthDelimited(0x0a, fields.header);
  if (fields.remaining !== undefined) parts.push(Buffer.from([0x10, ...varint(fields.remaining)]));
  if (fields.blob !== undefined) lengthDelimited(0x1a, fields.blob);
  if (fields.version !== undefined) lengthDelimited(0x22, Buffer.from(fields.version));
  const body = Buffer.concat(parts);
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(body.length, 1);
  return Buffer.concat([prefix, body]);
}
