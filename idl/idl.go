// Package idl holds the definitions of what Backbeat speaks: the .proto files, from
// which package proto is generated, and the HTTP API, from which the gateway's page
// of it and the collection for API clients are made. Comments in them are the manual.
package idl

import _ "embed"

// OpenAPI describes everything the gateway serves, as an OpenAPI 3.1 document in YAML.
// The end-to-end tests hold every answer against it.
//
//go:embed openapi.yaml
var OpenAPI string
