// Swagger UI for `/docs`. The script before this one defines it.

const { SwaggerUIBundle } = /** @type {any} */ (window);

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  showExtensions: true,
  showCommonExtensions: true,
});
