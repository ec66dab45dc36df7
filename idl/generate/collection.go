package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"go.yaml.in/yaml/v3"
)

// collectionPath is what Postman, Apifox and their like import.
const collectionPath = "idl/backbeat.postman_collection.json"

// collection is a Postman collection, version 2.1.
type collection struct {
	Info     collectionInfo `json:"info"`
	Variable []pair         `json:"variable"`
	Item     []folder       `json:"item"`
}

type collectionInfo struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Schema      string `json:"schema"`
}

type folder struct {
	Name string `json:"name"`
	Item []call `json:"item"`
}

type call struct {
	Name     string   `json:"name"`
	Event    []event  `json:"event,omitempty"`
	Request  request  `json:"request"`
	Response []answer `json:"response"`
}

type request struct {
	Method      string   `json:"method"`
	Description string   `json:"description,omitempty"`
	Header      []pair   `json:"header"`
	Body        *form    `json:"body,omitempty"`
	URL         location `json:"url"`
}

type location struct {
	Raw      string   `json:"raw"`
	Host     []string `json:"host"`
	Path     []string `json:"path"`
	Query    []pair   `json:"query,omitempty"`
	Variable []pair   `json:"variable,omitempty"`
}

type pair struct {
	Key         string `json:"key"`
	Value       string `json:"value"`
	Description string `json:"description,omitempty"`
	// Disabled ones are shown and not sent.
	Disabled bool `json:"disabled,omitempty"`
}

type form struct {
	Mode     string  `json:"mode"`
	FormData []field `json:"formdata"`
}

type field struct {
	pair
	Type string `json:"type"`
}

type answer struct {
	Name            string  `json:"name"`
	OriginalRequest request `json:"originalRequest"`
	Status          string  `json:"status"`
	Code            int     `json:"code"`
	Language        string  `json:"_postman_previewlanguage"`
	Header          []pair  `json:"header"`
	Body            string  `json:"body"`
}

type event struct {
	Listen string `json:"listen"`
	Script script `json:"script"`
}

type script struct {
	Type string   `json:"type"`
	Exec []string `json:"exec"`
}

// keepToken makes whoever registered or logged in the sender of later requests.
var keepToken = event{"test", script{"text/javascript", []string{
	"const { token } = pm.response.json();",
	"if (token) pm.collectionVariables.set('token', token);",
}}}

// writeCollection returns the collection made of an OpenAPI document, as a file.
func writeCollection(openAPI string) ([]byte, error) {
	loader := openapi3.NewLoader()
	document, err := loader.LoadFromData([]byte(openAPI))
	if err != nil {
		return nil, err
	}
	if err := document.Validate(loader.Context); err != nil {
		return nil, err
	}
	// The library forgets the order of the paths, in which people read them.
	var tree struct {
		Paths yaml.Node `yaml:"paths"`
	}
	if err := yaml.Unmarshal([]byte(openAPI), &tree); err != nil {
		return nil, err
	}
	var paths []string
	for i := 0; i < len(tree.Paths.Content); i += 2 {
		paths = append(paths, tree.Paths.Content[i].Value)
	}
	var file bytes.Buffer
	encoder := json.NewEncoder(&file)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err = encoder.Encode(collect(document, paths))
	return file.Bytes(), err
}

// collect makes a folder of each tag. HEAD and OPTIONS are left out: nobody tries
// them by hand.
func collect(document *openapi3.T, paths []string) collection {
	all := collection{
		Info: collectionInfo{document.Info.Title, document.Info.Description, "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"},
		Variable: []pair{
			{Key: "baseUrl", Value: "http://127.0.0.1:8080"},
			{Key: "token", Description: "Set by 用户注册 and 用户登录."},
		},
	}
	for _, tag := range document.Tags {
		part := folder{Name: tag.Description}
		for _, path := range paths {
			item := document.Paths.Value(path)
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				if operation := item.GetOperation(method); operation != nil && slices.Contains(operation.Tags, tag.Name) {
					part.Item = append(part.Item, newCall(method, path, item, operation))
				}
			}
		}
		if len(part.Item) > 0 {
			all.Item = append(all.Item, part)
		}
	}
	return all
}

func newCall(method, path string, item *openapi3.PathItem, operation *openapi3.Operation) call {
	made := call{Name: operation.Summary, Response: []answer{}, Request: request{
		Method: method, Description: operation.Description, Header: []pair{}, Body: upload(operation), URL: newLocation(path, slices.Concat(item.Parameters, operation.Parameters), operation),
	}}
	ok := operation.Responses.Status(http.StatusOK).Value.Content["application/json"]
	if ok == nil {
		return made
	}
	if schema := ok.Schema.Ref; strings.HasSuffix(schema, "/SessionAnswer") {
		made.Event = []event{keepToken}
	}
	original := made.Request
	original.Description = "" // once is enough
	for _, name := range sorted(ok.Examples) {
		made.Response = append(made.Response, answer{
			Name: name, OriginalRequest: original, Status: "OK", Code: http.StatusOK, Language: "json",
			Header: []pair{{Key: "Content-Type", Value: "application/json; charset=utf-8"}},
			Body:   indented(ok.Examples[name].Value.Value),
		})
	}
	return made
}

// newLocation has the parameters in the query, as the app sends them, but those of an
// upload, which go with the file.
func newLocation(path string, parameters openapi3.Parameters, operation *openapi3.Operation) location {
	at := location{Host: []string{"{{baseUrl}}"}}
	for _, told := range parameters {
		parameter := told.Value
		value := pair{Key: parameter.Name, Value: text(parameter.Example), Description: strings.TrimSpace(parameter.Description)}
		switch {
		case parameter.In == openapi3.ParameterInPath:
			if !strings.Contains(path, "/{"+parameter.Name+"}") { // a part of a name: Postman has no such variables
				path = strings.Replace(path, "{"+parameter.Name+"}", value.Value, 1)
				continue
			}
			path = strings.Replace(path, "{"+parameter.Name+"}", ":"+parameter.Name, 1)
			at.Variable = append(at.Variable, value)
		case parameter.In == openapi3.ParameterInQuery && upload(operation) == nil:
			value.Disabled = !parameter.Required && !strings.HasPrefix(parameter.Description, "Required")
			at.Query = append(at.Query, value)
		}
	}
	if takesToken(operation) && upload(operation) == nil { // an empty one is an anonymous viewer's
		at.Query = append([]pair{{Key: "token", Value: "{{token}}"}}, at.Query...)
	}
	at.Path = strings.Split(strings.TrimPrefix(path, "/"), "/")
	at.Raw = "{{baseUrl}}" + path
	separator := "?"
	for _, value := range at.Query {
		if !value.Disabled {
			at.Raw += separator + value.Key + "=" + value.Value
			separator = "&"
		}
	}
	return at
}

// takesToken reports whether the operation looks at a token.
func takesToken(operation *openapi3.Operation) bool {
	return operation.Security != nil && slices.ContainsFunc(*operation.Security, func(way openapi3.SecurityRequirement) bool {
		_, named := way["token"]
		return named
	})
}

// upload returns the form of an operation that must have one, else nil.
func upload(operation *openapi3.Operation) *form {
	if operation.RequestBody == nil || !operation.RequestBody.Value.Required {
		return nil
	}
	schema := operation.RequestBody.Value.Content["multipart/form-data"].Schema.Value
	made := &form{Mode: "formdata"}
	for _, name := range sorted(schema.Properties) {
		property := schema.Properties[name].Value
		part := field{pair{Key: name, Description: strings.TrimSpace(property.Description)}, "text"}
		switch {
		case property.Format == "binary":
			part.Type = "file"
		case name == "token":
			part.Value = "{{token}}"
		}
		made.FormData = append(made.FormData, part)
	}
	return made
}

func sorted[V any](of map[string]V) []string {
	names := make([]string, 0, len(of))
	for name := range of {
		names = append(names, name)
	}
	slices.SortFunc(names, cmp.Compare)
	return names
}

// text writes an example as it stands in a URL; ids are numbers.
func text(example any) string {
	switch example := example.(type) {
	case nil:
		return ""
	case string:
		return example
	default:
		return indented(example)
	}
}

// indented writes what was read from YAML, which can be written.
func indented(value any) string {
	encoded, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(encoded)
}
