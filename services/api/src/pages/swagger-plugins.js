// What Swagger UI lacks for this store's page, as plugins of it. swagger-initializer.js hands them over.
"use strict";

// The curl sample of each operation (`x-codeSamples` in the document), under the operation's description.
function CodeSamplesPlugin() {
  // The address in the document, for which a reader sees the address in their browser: a sample is pasted as it stands.
  const DOCUMENT_ORIGIN = "http://127.0.0.1:8080";

  function copyText(text) {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    // A page that came over plain HTTP from another machine has no `navigator.clipboard`.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied ? Promise.resolve() : Promise.reject(new Error("the browser refused to copy"));
  }

  function sampleComponent(React) {
    const element = React.createElement;
    return function CodeSample({ label, source }) {
      const [state, setState] = React.useState("Copy");
      const text = source.trimEnd().replaceAll(DOCUMENT_ORIGIN, window.location.origin);
      const copy = () => copyText(text).then(() => setState("Copied"), () => setState("Not copied"));
      React.useEffect(() => {
        if (state === "Copy") return undefined;
        const timer = setTimeout(() => setState("Copy"), 2000);
        return () => clearTimeout(timer);
      }, [state]);
      return element("section", { className: "sample", "aria-label": `Sample: ${label}` },
        element("div", { className: "sample-head" },
          element("h4", null, label),
          element("button", { type: "button", className: "sample-copy", onClick: copy, "aria-live": "polite" }, state)),
        // Long lines scroll: a keyboard has to reach them.
        element("pre", { className: "sample-code", tabIndex: 0 }, element("code", null, text)));
    };
  }

  return {
    wrapComponents: {
      parameters: (Original, { React, specSelectors }) => {
        const CodeSample = sampleComponent(React);
        return function ParametersBelowSamples(props) {
          const samples = specSelectors.specJson().getIn(["paths", ...props.pathMethod, "x-codeSamples"]);
          const shown = (samples ? samples.toJS() : []).map(({ label, lang, source }, index) =>
            React.createElement(CodeSample, { key: index, label: label || lang, source }));
          return React.createElement(React.Fragment, null, shown, React.createElement(Original, props));
        };
      },
    },
  };
}

// Links to operations, `/docs#/OrderManager/place_order`. Swagger UI reads `_` in them as a space, too, and warns about that: tags and operations of this document
// have no spaces. And it follows them only when the page is loaded; here also when one is clicked on in the page, and with the browser's Back.
function DeepLinksPlugin({ getSystem }) {
  window.addEventListener("hashchange", () => getSystem().layoutActions.parseDeepLinkHash(window.location.hash));
  return {
    statePlugins: {
      layout: {
        wrapActions: {
          parseDeepLinkHash: (_original, { layoutActions, layoutSelectors }) => (hash) => {
            const path = hash.replace(/^#!?\/?/, "").split("/").filter(Boolean).map(decodeURIComponent);
            const shown = layoutSelectors.isShownKeyFromUrlHashArray(path);
            if (shown.length === 0) return;
            if (path.length > 1) layoutActions.show(["operations-tag", path[0]], true);
            layoutActions.show(shown, true);
            layoutActions.scrollTo(shown);
          },
        },
      },
    },
    wrapComponents: {
      // In the head of an operation, which is a button, a link would be one control inside another. Opening the operation puts its link into the address bar.
      DeepLink: (Original, { React }) => function OperationName(props) {
        return props.path.includes("/") ? React.createElement("span", null, props.text) : React.createElement(Original, props);
      },
    },
  };
}

// Names for the controls that Swagger UI leaves without one, for those who hear the page instead of seeing it.
function ControlNamesPlugin() {
  const NAMES = {
    "#servers": "Server",
    ".examples-select-element": "Example",
    ".body-param__text": "Request body",
    ".body-param-content-type select": "Media type of the request body",
    ".response-control-media-type select": "Media type of the response",
    ".parameters input, .parameters select": "Value",
    ".auth-container input": "Token",
    ".close-modal": "Close",
    ".copy-to-clipboard button": "Copy",
  };
  // A label around a select has the text of its options, too, which names nothing.
  function isLabelled(control) {
    return Array.from(control.labels ?? []).some((label) => label.textContent.trim() !== control.textContent.trim());
  }
  function nameControls() {
    // Their labels ("Apply credentials") lack the text on the buttons.
    for (const button of document.querySelectorAll(".modal-ux .auth-btn-wrapper .btn[aria-label]")) {
      button.removeAttribute("aria-label");
    }
    for (const [selector, name] of Object.entries(NAMES)) {
      for (const control of document.querySelectorAll(selector)) {
        if (control.hasAttribute("aria-label") || isLabelled(control)) continue;
        const parameter = control.closest("tr[data-param-name]");
        control.setAttribute("aria-label", parameter ? parameter.dataset.paramName : name);
      }
    }
  }
  return {
    afterLoad() {
      new MutationObserver(nameControls).observe(document.getElementById("swagger-ui"), { childList: true, subtree: true });
    },
  };
}

// Authorizes the page with the token of a successful log-in, and removes it after a successful log-out.
function TokenPlugin() {
  return {
    statePlugins: {
      spec: {
        wrapActions: {
          setResponse: (original, { authActions, specSelectors }) => (path, method, response) => {
            const result = original(path, method, response);
            const document = specSelectors.specJson();
            const operation = document.getIn(["paths", path, method, "operationId"]);
            if (!response.ok || !["log_in", "log_out"].includes(operation)) return result;
            const schemes = document.getIn(["components", "securitySchemes"]);
            const name = schemes.findKey((scheme) => scheme.get("scheme") === "bearer");
            if (operation === "log_out") {
              authActions.logoutWithPersistOption([name]);
            } else {
              const value = JSON.parse(response.text).access_token;
              authActions.authorizeWithPersistOption({ [name]: { name, schema: schemes.get(name), value } });
            }
            return result;
          },
        },
      },
    },
  };
}
