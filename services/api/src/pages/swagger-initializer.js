// Shows /openapi.yaml, the file that this server was made from, to read and to try out.
"use strict";

// Swagger UI has dark colors for a page whose root element has this class.
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const applyColorScheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
applyColorScheme();
dark.addEventListener("change", applyColorScheme);

window.addEventListener("load", () => {
  const ui = SwaggerUIBundle({
    url: "/openapi.yaml",
    dom_id: "#swagger-ui",
    presets: [SwaggerUIBundle.presets.apis],
    plugins: [CodeSamplesPlugin, DeepLinksPlugin, ControlNamesPlugin, TokenPlugin],
    layout: "BaseLayout",
    deepLinking: true,
    displayRequestDuration: true,
    // Bounds and patterns of parameters, beside them.
    showCommonExtensions: true,
    // The types stand open in each operation; below all operations their list is one line until it is wanted.
    defaultModelsExpandDepth: 0,
    // Without a click on "Try it out" for every operation.
    tryItOutEnabled: true,
    // The token stays after the page is loaded again (in this browser's storage, for this page).
    persistAuthorization: true,
    // Colours that can be told from their background; those of the default cannot.
    syntaxHighlight: { theme: "obsidian" },
    // No request to any other host.
    validatorUrl: null,
  });
  document.getElementById("authorize").addEventListener("click", () => {
    ui.authActions.showDefinitions(ui.authSelectors.definitionsToAuthorize());
  });
});
