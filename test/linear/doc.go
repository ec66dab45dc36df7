// Package linear proves that what users see of their own writes is linearizable,
// and that nothing is lost or counted twice, whatever the concurrency and the
// faults beneath.
//
// A history is one generated program: 8 to 64 goroutines like, follow, comment,
// publish and chat as a handful of users, on real services, databases and queues,
// while answers get lost, requests are canceled, transactions conflict, and
// queues refuse, repeat and reorder. Every call and answer is recorded and
// checked by porcupine against a sequential model of each (user, item): an answer
// that says the outcome is unknown may have taken effect at any later time, once,
// or never. When the queues have drained every counter must equal its rows, and
// the rows what their users see.
//
// The suite is itself put to the test: each system of the list in variants_test.go
// is broken in one way that a reviewer might miss, and must be caught.
package linear
