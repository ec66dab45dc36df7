package rpc

import (
	"context"
	"strings"

	micro "go-micro.dev/v4/metadata"
	"google.golang.org/grpc/metadata"

	"backbeat/app/trace"
)

// binarySuffix marks headers whose values are any bytes; gRPC encodes those.
const binarySuffix = "-bin"

// outgoing collects headers as pairs of key and value. It is a trace carrier.
type outgoing []string

// Set adds a header.
func (o *outgoing) Set(key, value string) { *o = append(*o, strings.ToLower(key), value) }

// withOutgoing adds what a call carries to ctx: go-micro's metadata, then the
// span, which wins over headers that were merely passed on.
func withOutgoing(ctx context.Context) context.Context {
	var headers outgoing
	if md, ok := micro.FromContext(ctx); ok {
		for key, value := range md {
			key = strings.ToLower(key)
			if reserved(key) {
				continue
			}
			if !printable(value) {
				key += binarySuffix
			}
			headers.Set(key, value)
		}
	}
	trace.Inject(ctx, &headers)
	if len(headers) == 0 {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, headers...)
}

// incoming is the headers of a received call. It is a trace carrier.
type incoming metadata.MD

// ForeachKey visits every header that has a value; of several the last.
func (in incoming) ForeachKey(visit func(key, value string) error) error {
	for key, values := range in {
		if len(values) == 0 {
			continue
		}
		if err := visit(key, values[len(values)-1]); err != nil {
			return err
		}
	}
	return nil
}

// withIncoming gives ctx the caller's go-micro metadata.
func (in incoming) withIncoming(ctx context.Context) context.Context {
	var md micro.Metadata
	for key, values := range in {
		if reserved(key) || len(values) == 0 {
			continue
		}
		if md == nil {
			md = make(micro.Metadata, len(in))
		}
		md[strings.TrimSuffix(key, binarySuffix)] = values[len(values)-1]
	}
	if md == nil {
		return ctx
	}
	return micro.NewContext(ctx, md)
}

// reserved reports whether a header belongs to gRPC and HTTP/2, not to callers.
func reserved(key string) bool {
	switch key {
	case "content-type", "user-agent", "te", "host", "connection":
		return true
	default:
		return strings.HasPrefix(key, ":") || strings.HasPrefix(key, "grpc-")
	}
}

// printable reports whether value may travel as a plain header.
func printable(value string) bool {
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
			return false
		}
	}
	return true
}
