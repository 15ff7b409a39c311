// Bundled code gets nothing but the default of a CommonJS package that it imports dynamically: names need a static import, and
// this file is what is imported dynamically instead (`yaml` is large, and most commands read no file).
export { isScalar, LineCounter, parseAllDocuments } from 'yaml';
