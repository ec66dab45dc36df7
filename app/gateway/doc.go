// Package gateway is the app's HTTP API: it decodes a request, knows its sender
// by the token alone, asks the services and joins what they answer into a page.
//
// It promises:
//   - Every answer of the API is JSON with the envelope of API §1.3 and all the
//     endpoint's keys; nothing a stranger sends makes it panic or answer 5xx.
//   - Every RPC is one Hystrix command with its own time budget, bounded
//     concurrency and fallback (call.go). A dead or slow service dims its part of
//     a page, which the header Backbeat-Degraded names, and nothing else.
//   - No log, span or error holds a raw query: tokens and passwords travel there.
package gateway
