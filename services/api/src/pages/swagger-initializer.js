// Shows /openapi.yaml, the file that this server was made from, to read and to try out.
window.addEventListener("load", function () {
  window.ui = SwaggerUIBundle({
    url: "/openapi.yaml",
    dom_id: "#swagger-ui",
    presets: [SwaggerUIBundle.presets.apis],
    layout: "BaseLayout",
    deepLinking: true,
    displayRequestDuration: true,
    // Without a click on "Try it out" for every operation.
    tryItOutEnabled: true,
    // The token stays after the page is loaded again (in this browser's storage, for this page).
    persistAuthorization: true,
    // No request to any other host.
    validatorUrl: null,
  });
});
