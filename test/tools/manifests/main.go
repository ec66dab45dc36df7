// Command manifests reads what deploy/ says to Docker Compose and to Kubernetes as
// strictly as their own types and schemas allow, and prints it as JSON:
//
//	manifests compose FILE      the project, with names resolved and defaults filled in
//	manifests kustomize DIR     a list of the objects that the folder builds
//
// It ends with 1 and every fault it found. It lives in a module of its own since
// these types would more than double what Backbeat itself depends on, and take
// longer to compile than all of its tests.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "manifests:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("usage: manifests compose FILE | kustomize DIR")
	}
	var read any
	var err error
	switch args[0] {
	case "compose":
		read, err = compose(ctx, args[1])
	case "kustomize":
		read, err = objects(args[1])
	default:
		err = fmt.Errorf("there is no %q: compose or kustomize", args[0])
	}
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(read)
}
