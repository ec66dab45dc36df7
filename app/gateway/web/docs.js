'use strict';
SwaggerUIBundle({
  url: '/docs/openapi.yaml',
  dom_id: '#api',
  deepLinking: true,
  displayRequestDuration: true,
  validatorUrl: null, // else it shows the document to a host outside
});
