package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
)

// request is an HTTP request of a plan.
type request struct {
	label, method, path string
}

// readRequests reads the requests of a plan, in its order.
func readRequests(path string) ([]request, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // only read
	var requests []request
	decoder := xml.NewDecoder(file)
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return requests, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		start, ok := token.(xml.StartElement)
		if !ok || start.Name.Local != "HTTPSamplerProxy" {
			continue
		}
		var element struct {
			Label      string `xml:"testname,attr"`
			Properties []struct {
				Name  string `xml:"name,attr"`
				Value string `xml:",chardata"`
			} `xml:"stringProp"`
		}
		if err := decoder.DecodeElement(&element, &start); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		r := request{label: element.Label}
		for _, p := range element.Properties {
			switch p.Name {
			case "HTTPSampler.method":
				r.method = p.Value
			case "HTTPSampler.path":
				r.path = p.Value
			}
		}
		requests = append(requests, r)
	}
}
