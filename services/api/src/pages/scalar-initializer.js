// Shows /openapi.yaml, the file that this server was made from, to read. Trying out is /docs' affair.
"use strict";

(async () => {
  const place = document.getElementById("reference");
  // The address in the document's samples, for which a reader sees the address in their browser: a sample is pasted as it stands.
  const DOCUMENT_ORIGIN = "http://127.0.0.1:8080";
  const answer = await fetch("/openapi.yaml");
  if (!answer.ok) {
    place.textContent = `The document could not be read: ${answer.status} ${answer.statusText}. Load the page again.`;
    return;
  }
  const content = (await answer.text()).replaceAll(DOCUMENT_ORIGIN, window.location.origin);
  Scalar.createApiReference(place, {
    content,
    // The samples of the document and no others: those of a generator know no values that work.
    hiddenClients: true,
    documentDownloadType: "none",
    modelsSectionLabel: "Schemas",
    // To read is to scroll: nothing is folded away.
    defaultOpenAllTags: true,
    // Nothing leaves this host: no fonts, no figures, no proxy, no assistants, no editors and clients elsewhere.
    withDefaultFonts: false,
    telemetry: false,
    proxyUrl: "",
    agent: { disabled: true },
    mcp: { disabled: true },
    hideClientButton: true,
    hideTestRequestButton: true,
    showDeveloperTools: "never",
    persistAuth: false,
  });
})();
