//go:build fault

package mq

import "slices"

// provoke panics in the handler's place when a message of the batch has the type
// "panic".
func provoke(batch []Message) {
	if slices.ContainsFunc(batch, func(m Message) bool { return m.Type == "panic" }) {
		panic("provoked")
	}
}
