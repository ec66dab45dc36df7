//go:build !fault

package mq

// provoke does nothing. A program built with the tag fault has one that panics
// when a message asks for it, for the tests of what a panicking handler does to
// those behind it.
func provoke([]Message) {}
