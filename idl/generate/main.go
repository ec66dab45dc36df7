// Command generate compiles idl/*.proto into proto/ without a protoc: the
// compiler is a Go library and the two plugins are `tool` lines of go.mod, so a
// machine needs nothing but Go. Of idl/openapi.yaml it makes the collection that API
// clients import. Run it from the module's root (make generate).
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	"backbeat/idl"
)

const (
	source = "idl"
	target = "proto"
	module = "backbeat/proto"
)

// The micro plugin imports go-micro's HTTP API package even where no endpoint
// uses it; that import drags in half of go-micro, so it and the two lines that
// use it are cut out of what is written.
var microLeftovers = []*regexp.Regexp{
	regexp.MustCompile(`(?m)^[ \t]*api "go-micro\.dev/v4/api"\n`),
	regexp.MustCompile(`(?m)^var _ api\.Endpoint\n`),
	regexp.MustCompile(`(?ms)^// Api Endpoints for .*?^}\n\n`),
}

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	paths, err := filepath.Glob(filepath.Join(source, "*.proto"))
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return errors.New("no .proto in " + source + ": run from the module's root")
	}
	names := make([]string, len(paths))
	for i, p := range paths {
		names[i] = filepath.Base(p)
	}
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{source}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(ctx, names...)
	if err != nil {
		return err
	}
	descriptors := inImportOrder(files)
	if err := os.RemoveAll(target); err != nil {
		return err
	}
	for _, plugin := range []string{"protoc-gen-go", "protoc-gen-micro"} {
		for _, name := range names { // the micro plugin takes one package at a time
			if err := generate(ctx, plugin, name, descriptors); err != nil {
				return fmt.Errorf("%s: %s: %w", plugin, name, err)
			}
		}
	}
	file, err := writeCollection(idl.OpenAPI)
	if err != nil {
		return fmt.Errorf("%s: %w", collectionPath, err)
	}
	return os.WriteFile(collectionPath, file, 0o644)
}

// inImportOrder lists every file after those it imports, as plugins expect.
func inImportOrder(files linker.Files) []*descriptorpb.FileDescriptorProto {
	var ordered []*descriptorpb.FileDescriptorProto
	seen := map[string]bool{}
	var visit func(file linker.File)
	visit = func(file linker.File) {
		if seen[file.Path()] {
			return
		}
		seen[file.Path()] = true
		for i := range file.Imports().Len() {
			if imported := file.FindImportByPath(file.Imports().Get(i).Path()); imported != nil {
				visit(imported)
			}
		}
		ordered = append(ordered, protoutil.ProtoFromFileDescriptor(file))
	}
	for _, file := range files {
		visit(file)
	}
	return ordered
}

// generate runs one plugin for one file and writes what it answers.
func generate(ctx context.Context, plugin, name string, files []*descriptorpb.FileDescriptorProto) error {
	request, err := proto.Marshal(&pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{name},
		Parameter:      proto.String("module=" + module),
		ProtoFile:      files,
	})
	if err != nil {
		return err
	}
	var output bytes.Buffer
	command := exec.CommandContext(ctx, "go", "tool", plugin)
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(request), &output, os.Stderr
	if err := command.Run(); err != nil {
		return err
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(output.Bytes(), &response); err != nil {
		return err
	}
	if response.Error != nil {
		return errors.New(response.GetError())
	}
	for _, file := range response.File {
		content := []byte(file.GetContent())
		if strings.HasSuffix(file.GetName(), ".pb.micro.go") {
			if !bytes.Contains(content, []byte("NewHandler")) {
				continue // no service in this file
			}
			for _, leftover := range microLeftovers {
				content = leftover.ReplaceAll(content, nil)
			}
		}
		path := filepath.Join(target, strings.TrimSuffix(name, ".proto"), filepath.Base(file.GetName()))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
