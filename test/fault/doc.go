// Command fault proves the system's promises under faults, in the real thing:
// separate processes and real servers on loopback, under load.
//
//	go run ./test/fault [CASE…]
//
// Each case is a row of the table in cases.go. It drives an open-loop load,
// injects its fault, heals it, lets the queues drain, and compares everything
// that was answered with what the system then shows. A case passes when nothing
// acknowledged is lost or counted twice and its own promise held. The tests of
// this package run every case in a short form that judges no latency.
package main
