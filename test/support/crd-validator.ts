import { readFileSync } from 'node:fs';
import { Ajv } from 'ajv';
import addFormats from 'ajv-formats';
import { parse } from 'yaml';

export interface JsonSchema {
  type?: string;
  required?: string[];
  properties?: Record<string, JsonSchema>;
  additionalProperties?: JsonSchema | boolean;
  [keyword: string]: unknown;
}

export interface Crd {
  metadata: { name: string };
  spec: {
    group: string;
    scope: string;
    names: { kind: string; listKind: string; plural: string; singular: string; shortNames?: string[] };
    versions: {
      name: string;
      served: boolean;
      storage: boolean;
      subresources?: unknown;
      additionalPrinterColumns: { name: string; type: string; jsonPath: string }[];
      schema: { openAPIV3Schema: JsonSchema };
    }[];
  };
}

export const snapshotFileCrd: Crd = parse(
  readFileSync(new URL('../../deploy/crds/k3s.cattle.io_etcdsnapshotfiles.yaml', import.meta.url), 'utf8'),
);

/** The schema of the CRD's only version. */
export function schemaOf(crd: Crd): JsonSchema {
  const version = crd.spec.versions[0];
  if (version === undefined) throw new Error(`${crd.metadata.name} has no version`);
  return version.schema.openAPIV3Schema;
}

/**
 * What is wrong with an object, judged by the CRD's schema as the API server does; but properties that the
 * schema does not know are errors here, where the API server would silently drop them.
 */
export function problems(crd: Crd, object: object): string[] {
  const ajv = new Ajv({ allErrors: true, strict: false });
  addFormats.default(ajv);
  const validate = ajv.compile(closed(schemaOf(crd)));
  validate(structuredClone(object));
  return (validate.errors ?? []).map((error) => `${error.instancePath} ${error.message}`);
}

function closed(schema: JsonSchema): JsonSchema {
  if (schema.properties === undefined) return schema;
  const properties = Object.fromEntries(
    Object.entries(schema.properties).map(([name, inner]) => [name, closed(inner)]),
  );
  return { ...schema, properties, additionalProperties: false };
}
