package idl

import (
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// Examples count too: each must fit its schema.
func TestTheDocumentIsValid(t *testing.T) {
	loader := openapi3.NewLoader()
	document, err := loader.LoadFromData([]byte(OpenAPI))
	if err != nil {
		t.Fatal(err)
	}
	if err := document.Validate(loader.Context, openapi3.EnableExamplesValidation(), openapi3.EnableSchemaPatternValidation()); err != nil {
		t.Error(err)
	}
}
