import { rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));

/**
 * We take one class out of the Kubernetes client. Its package does not say that nothing happens when it is imported, so all
 * its models would come along: 15 MB of memory in every process that asks the API server. What it does on import is to fill
 * in a global that Node 18 lacks.
 */
const kubernetesInParts: Plugin = {
  name: 'kubernetes-in-parts',
  setup(parts) {
    parts.onResolve(
      { filter: /^@kubernetes\/client-node$|^\.\.?\// },
      async ({ path, pluginData, ...where }) => {
        if (pluginData === 'seen') return undefined;
        const { kind, importer, resolveDir, namespace } = where;
        const found = await parts.resolve(path, {
          kind,
          importer,
          resolveDir,
          namespace,
          pluginData: 'seen',
        });
        const ofIt = found.path.includes('/node_modules/@kubernetes/client-node/');
        return ofIt ? { ...found, sideEffects: false } : undefined;
      },
    );
  },
};

/**
 * Bundles programs with all that they import, so that they start fast (docs/adr/0003).
 * @param entryPoints TypeScript files, relative to the repository; each becomes `NAME.js`
 * @param outdir absolute path of a folder, emptied first
 * @returns the files that were written, with their sizes in bytes
 */
export async function bundle(
  entryPoints: readonly string[],
  outdir: string,
): Promise<Readonly<Record<string, { readonly bytes: number }>>> {
  await rm(outdir, { recursive: true, force: true });
  const result = await build({
    absWorkingDir: root,
    entryPoints: [...entryPoints],
    entryNames: '[name]',
    outdir,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    minifySyntax: true,
    legalComments: 'none',
    logLevel: 'warning',
    metafile: true,
    plugins: [kubernetesInParts],
    // Packages written for CommonJS ask for `require`, which a module does not have.
    banner: {
      js: "import { createRequire as $createRequire } from 'node:module'; const require = $createRequire(import.meta.url);",
    },
  });
  return result.metafile.outputs;
}
