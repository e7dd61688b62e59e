// The parts of the document that a page has to show.

const METHODS = ["get", "put", "post", "delete", "patch"];

/** The address in the document's samples, which the pages replace. */
export const DOCUMENT_ORIGIN = "http://127.0.0.1:8080";

/** Fetches the document from the store: `{ title, tags: [{ name, description }], operations: [{ id, tag, method, path, summary, description, parameters, sample, responses, hasBody }] }`. */
export async function readDocument(origin) {
  const document = await (await fetch(`${origin}/openapi.json`)).json();
  const resolve = (value) => (value.$ref ? value.$ref.slice(2).split("/").reduce((at, key) => at[key], document) : value);
  const operations = [];
  for (const [path, item] of Object.entries(document.paths)) {
    for (const method of METHODS.filter((method) => item[method])) {
      const operation = item[method];
      operations.push({
        id: operation.operationId,
        tag: operation.tags[0],
        method,
        path,
        summary: operation.summary,
        description: operation.description,
        parameters: [...(item.parameters ?? []), ...(operation.parameters ?? [])].map((parameter) => resolve(parameter).name),
        hasBody: "requestBody" in operation,
        sample: operation["x-codeSamples"]?.[0].source.replaceAll(DOCUMENT_ORIGIN, origin),
        responses: Object.entries(operation.responses).map(([status, response]) => ({ status, description: resolve(response).description, hasContent: "content" in resolve(response) })),
      });
    }
  }
  return { title: document.info.title, tags: document.tags, operations };
}
