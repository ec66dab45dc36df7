// Package contract holds what the gateway answers against idl/openapi.yaml. A client
// whose transport is this package's hears of every path, parameter, status, header
// and body that the document does not tell.
package contract

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"backbeat/idl"
)

// address is what schemas are compiled under; nothing lies there.
const address = "http://openapi.yaml"

// Contract is the document, compiled: checking the largest page of a feed costs about
// a millisecond, most answers some microseconds. It may be used by many at a time.
type Contract struct {
	router routers.Router
	// operations are the answers by status, by method and path.
	operations map[string]map[int]*response
	// noPath and noMethod are what requests get that name no operation.
	noPath, noMethod *response
	// names are the parameters that any operation has.
	names map[string]bool
}

// response is one answer that the document tells of.
type response struct {
	headers map[string]header
	// bodies are by content type. A schema is nil for what is no JSON.
	bodies map[string]*jsonschema.Schema
}

type header struct {
	required bool
	schema   *jsonschema.Schema
	integer  bool
}

// Load compiles the document.
func Load() (*Contract, error) {
	document, err := openapi3.NewLoader().LoadFromData([]byte(idl.OpenAPI))
	if err != nil {
		return nil, fmt.Errorf("loading the OpenAPI document: %w", err)
	}
	document.Servers = nil // whichever address the tests run at
	c := &Contract{operations: map[string]map[int]*response{}, names: parameters(document)}
	if c.router, err = gorillamux.NewRouter(document); err != nil {
		return nil, fmt.Errorf("reading the paths of the OpenAPI document: %w", err)
	}
	compile, err := compiler()
	if err != nil {
		return nil, err
	}
	for path, item := range document.Paths.Map() {
		for method, operation := range item.Operations() {
			answers := map[int]*response{}
			for status, ref := range operation.Responses.Map() {
				code, err := strconv.Atoi(status)
				if err != nil {
					return nil, fmt.Errorf("%s %s: %w", method, path, err)
				}
				at := []string{"paths", path, strings.ToLower(method), "responses", status}
				if answers[code], err = newResponse(compile, ref, at); err != nil {
					return nil, err
				}
			}
			c.operations[method+" "+path] = answers
		}
	}
	if c.noPath, err = newResponse(compile, document.Components.Responses["NoSuchPath"], []string{"components", "responses", "NoSuchPath"}); err != nil {
		return nil, err
	}
	c.noMethod, err = newResponse(compile, document.Components.Responses["NoSuchMethod"], []string{"components", "responses", "NoSuchMethod"})
	return c, err
}

// parameters returns the names that any operation has in its query or its form.
func parameters(document *openapi3.T) map[string]bool {
	names := map[string]bool{}
	for _, scheme := range document.Components.SecuritySchemes {
		names[scheme.Value.Name] = true
	}
	for _, item := range document.Paths.Map() {
		for _, operation := range item.Operations() {
			for _, parameter := range operation.Parameters {
				if parameter.Value.In == openapi3.ParameterInQuery {
					names[parameter.Value.Name] = true
				}
			}
			if operation.RequestBody == nil {
				continue
			}
			for _, media := range operation.RequestBody.Value.Content {
				for name := range media.Schema.Value.Properties {
					names[name] = true
				}
			}
		}
	}
	return names
}

// compiler returns what compiles the schema at a place of the document.
func compiler() (func(at []string) (*jsonschema.Schema, error), error) {
	var tree any
	if err := yaml.Unmarshal([]byte(idl.OpenAPI), &tree); err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	resource, err := jsonschema.UnmarshalJSON(strings.NewReader(string(encoded)))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource(address, resource); err != nil {
		return nil, err
	}
	return func(at []string) (*jsonschema.Schema, error) {
		escaped := make([]string, len(at))
		for i, key := range at {
			escaped[i] = escape.Replace(key)
		}
		schema, err := c.Compile(address + "#/" + strings.Join(escaped, "/"))
		if err != nil {
			return nil, fmt.Errorf("compiling the schema of %s: %w", strings.Join(at, " "), err)
		}
		return schema, nil
	}, nil
}

// escape writes a key as a part of a JSON pointer in a URL.
var escape = strings.NewReplacer("~", "~0", "/", "~1", "%", "%25", "{", "%7B", "}", "%7D", " ", "%20", ";", "%3B")

func newResponse(compile func(at []string) (*jsonschema.Schema, error), ref *openapi3.ResponseRef, at []string) (*response, error) {
	if ref.Ref != "" {
		at = pointer(ref.Ref)
	}
	answer := &response{headers: map[string]header{}, bodies: map[string]*jsonschema.Schema{}}
	for name, told := range ref.Value.Headers {
		place := append(slices.Clone(at), "headers", name)
		if told.Ref != "" {
			place = pointer(told.Ref)
		}
		schema, err := compile(append(place, "schema"))
		if err != nil {
			return nil, err
		}
		answer.headers[name] = header{told.Value.Required, schema, told.Value.Schema.Value.Type.Is("integer")}
	}
	for kind := range ref.Value.Content {
		if kind != "application/json" {
			answer.bodies[kind] = nil
			continue
		}
		schema, err := compile(append(slices.Clone(at), "content", kind, "schema"))
		if err != nil {
			return nil, err
		}
		answer.bodies["application/json; charset=utf-8"] = schema
	}
	return answer, nil
}

// pointer returns the keys of a reference within the document.
func pointer(ref string) []string { return strings.Split(strings.TrimPrefix(ref, "#/"), "/") }

// Check returns what is wrong with an answer. The body is looked at where the
// document has JSON.
func (c *Contract) Check(request *http.Request, status int, got http.Header, body []byte) error {
	told, err := c.find(request, status)
	if err != nil {
		return err
	}
	for name, want := range told.headers {
		if err := want.check(name, got); err != nil {
			return err
		}
	}
	if request.Method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified {
		return nil
	}
	kind := got.Get("Content-Type")
	schema, known := told.bodies[kind]
	if !known && len(told.bodies) > 0 {
		return fmt.Errorf("the Content-Type %q is not in the document", kind)
	}
	if schema == nil {
		return nil
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(body)))
	if err != nil {
		return fmt.Errorf("no JSON: %w: %.300s", err, body)
	}
	if err := schema.Validate(value); err != nil {
		return fmt.Errorf("%w: %.300s", err, body)
	}
	return nil
}

// find returns what the document says of a request that ended with the status.
func (c *Contract) find(request *http.Request, status int) (*response, error) {
	sent := request.Clone(request.Context())
	sent.URL.Path, sent.URL.RawPath = "/"+strings.TrimLeft(request.URL.Path, "/"), ""
	if trimmed := strings.TrimSuffix(sent.URL.Path, "/"); strings.HasPrefix(trimmed, "/douyin/") {
		sent.URL.Path = trimmed + "/" // the document lists one form of each
	}
	if strings.HasSuffix(request.URL.Path, "//") { // which is no form of it
		sent.URL.Path = request.URL.Path
	}
	route, _, err := c.router.FindRoute(sent)
	if errors.Is(err, routers.ErrMethodNotAllowed) && request.Method == http.MethodHead {
		sent.Method = http.MethodGet
		route, _, err = c.router.FindRoute(sent)
	}
	switch {
	case errors.Is(err, routers.ErrPathNotFound) && status == http.StatusNotFound:
		return c.noPath, nil
	case errors.Is(err, routers.ErrMethodNotAllowed) && status == http.StatusMethodNotAllowed:
		return c.noMethod, nil
	case err != nil:
		return nil, fmt.Errorf("the document does not list it: %w", err)
	}
	for name := range request.URL.Query() {
		if !c.names[name] {
			return nil, fmt.Errorf("the parameter %q is not in the document", name)
		}
	}
	told := c.operations[sent.Method+" "+route.Path][status]
	if told == nil {
		return nil, fmt.Errorf("the status %d is not in the document", status)
	}
	return told, nil
}

func (h header) check(name string, got http.Header) error {
	text := got.Get(name)
	if text == "" {
		if h.required {
			return fmt.Errorf("the header %s is missing", name)
		}
		return nil
	}
	var value any = text
	if h.integer {
		value = json.Number(text)
	}
	if err := h.schema.Validate(value); err != nil {
		return fmt.Errorf("the header %s is %q: %w", name, text, err)
	}
	return nil
}
