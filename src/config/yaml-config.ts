/** Settings files are small; a large one is another file. */
const MOST_BYTES = 1024 * 1024;

/**
 * The keys of a YAML mapping and their values, in order: texts as they are written (`0123` stays `0123`), lists and mappings
 * of them. A key that stands twice counts as it stands last. A string says what is wrong, without showing any of the text,
 * which may be secret.
 */
export async function parseConfig(text: string): Promise<ReadonlyMap<string, unknown> | string> {
  if (text.length > MOST_BYTES) return 'it is larger than 1 MiB';
  const { isScalar, LineCounter, parseAllDocuments } = await import('./yaml-parser.ts');
  const lines = new LineCounter();
  const options = {
    schema: 'failsafe',
    merge: true,
    uniqueKeys: false,
    prettyErrors: false,
    lineCounter: lines,
  } as const;
  const documents = [...parseAllDocuments(text, options)];
  const error = documents.flatMap(({ errors }) => errors)[0];
  if (error !== undefined) {
    const { line } = lines.linePos(error.pos[0]);
    return `line ${line} is no YAML (${error.code.toLowerCase().replaceAll('_', ' ')})`;
  }
  // A `---` at the end, as editors and templates leave it, begins a document of nothing.
  const [document, second] = documents.filter(
    ({ contents }) => contents !== null && !(isScalar(contents) && isBlank(contents.value)),
  );
  if (second !== undefined) {
    const { line } = lines.linePos(second.range[0]);
    return `line ${line} begins a second document, and servers read only the first`;
  }
  if (document === undefined) return new Map();
  let value: unknown;
  try {
    value = document.toJS({ mapAsMap: true });
  } catch (error) {
    // Anchors that nobody set, or that multiply without end.
    if (error instanceof ReferenceError) return 'an alias in it cannot be resolved';
    throw error;
  }
  if (!(value instanceof Map)) return 'it is no mapping of keys to values';
  return new Map([...value].map(([key, one]) => [String(key), one]));
}

/** Of comments, or of nothing but a blank value. */
function isBlank(value: unknown): boolean {
  return value === null || value === '';
}
