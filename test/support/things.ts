/** What a collection holds in tests of the reflector. */
export interface Thing {
  readonly metadata: { readonly name: string; readonly resourceVersion: string };
  readonly color: string;
}

export const thing = (name: string, resourceVersion: string, color = 'red'): Thing => ({
  metadata: { name, resourceVersion },
  color,
});
export const list = (resourceVersion: string, ...items: Thing[]) => ({
  metadata: { resourceVersion },
  items,
});
/** A page of a list that has more. */
export const page = (resourceVersion: string, ...items: Thing[]) => ({
  metadata: { resourceVersion, continue: 'go-on' },
  items,
});
export const event = (type: string, object: unknown) => ({ type, object });
export const bookmark = (resourceVersion: string) => event('BOOKMARK', { metadata: { resourceVersion } });
