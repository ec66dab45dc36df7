package gateway

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
)

// The page at / in three parts, as people edit them. They are sent as one
// document, so that the page needs no second request and no path of its own.
var (
	//go:embed web/index.html
	pageHTML string
	//go:embed web/app.css
	pageCSS string
	//go:embed web/app.js
	pageJS string
)

// webHandler returns the handler of the page that plays the newest videos in a
// browser. Its policy lets run the page's own script alone, by its hash, and
// call its own origin alone; pictures and videos may come from where
// media.public_url says.
func webHandler() http.Handler {
	page := strings.NewReplacer("{{css}}", pageCSS, "{{js}}", pageJS).Replace(pageHTML)
	policy := fmt.Sprintf("default-src 'none'; script-src %s; style-src %s; connect-src 'self'; "+
		"img-src 'self' data: http: https:; media-src 'self' http: https:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		sourceHash(pageJS), sourceHash(pageCSS))
	return newStatic("text/html; charset=utf-8", policy, page)
}

// sourceHash returns how a policy names an inline script or style.
func sourceHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
