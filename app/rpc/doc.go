// Package rpc is go-micro's client.Client and server.Server on gRPC: the one
// place where a remote call is built. Endpoint "User.BatchGet" of the service
// "user" is the gRPC method /user.User/BatchGet, so generated go-micro code and
// every gRPC tool reach the same servers; reflection and the standard health
// service are there for the tools.
//
// A call carries its deadline, go-micro's metadata and the span in its context.
// A failure arrives as the errs.Kind the handler returned, with its text.
//
// The client keeps one connection to each registered instance and gives a call
// to the less loaded of two. An instance that dies costs the calls it was
// serving and no others; one that hangs is passed over after three timeouts in a
// row; one that stops deliberately costs nothing.
//
// Streams and messages are not supported: services don't stream, and what is
// asynchronous goes through package mq.
package rpc

import (
	"errors"
	"time"
)

const (
	// maxMessage bounds one request or answer, in bytes: room for 5,000 videos.
	maxMessage = 16 << 20
	// pingEvery and pingTimeout find connections whose other end is gone without
	// a word. gRPC allows clients no shorter interval than ten seconds.
	pingEvery   = 10 * time.Second
	pingTimeout = 3 * time.Second
)

var (
	errUnsupported = errors.New("rpc: streams, messages and subscribers are not supported")
	errFixed       = errors.New("rpc: options are given to New, not to Init")
)
