package gateway

import (
	_ "embed"
	"fmt"
	"net/http"
	"strings"

	swagger "github.com/swaggest/swgui/v5/static"

	"backbeat/idl"
)

// The page at /docs: Swagger UI, which comes with its module, and what starts it.
var (
	//go:embed web/docs.html
	docsHTML string
	//go:embed web/docs.js
	docsJS string
)

// pages returns what browsers are shown, by path.
func pages() map[string]http.Handler {
	all := map[string]http.Handler{
		"/":                  webHandler(),
		"/docs":              docsHandler(),
		"/docs/openapi.yaml": newStatic("application/yaml; charset=utf-8", "", idl.OpenAPI),
	}
	all["/docs/"] = all["/docs"]
	for name, contentType := range map[string]string{
		"swagger-ui.css":       "text/css; charset=utf-8",
		"swagger-ui-bundle.js": "text/javascript; charset=utf-8",
	} {
		body, err := swagger.FS.ReadFile(name + ".gz")
		if err != nil { // cannot be: the module's version is fixed
			panic(err)
		}
		all["/docs/"+name] = newZipped(contentType, body)
	}
	return all
}

// docsHandler returns the handler of the page that shows the API's document. It may
// ask its own origin alone, of which it tries the operations, and runs nothing but
// Swagger UI and its own few lines.
func docsHandler() http.Handler {
	page := strings.Replace(docsHTML, "{{js}}", docsJS, 1)
	policy := fmt.Sprintf("default-src 'none'; script-src 'self' %s; style-src 'self'; connect-src 'self'; "+
		"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'", sourceHash(docsJS))
	return newStatic("text/html; charset=utf-8", policy, page)
}
