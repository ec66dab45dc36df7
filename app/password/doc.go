// Package password keeps passwords as argon2id hashes, each with its own salt, and
// checks them.
//
// A hash takes 19 MiB and about 30 ms of a core by intent. So that a flood of logins
// does not take them from everybody else, hashes are made in child processes of this
// program, a bounded number, which get the processor when nobody else wants it: only
// threads have a priority, and argon2 starts goroutines of its own, which no thread of
// ours holds. A child that gets no turn is not waited for: until it
// has caught up, the service hashes itself. A caller whose time ends before its turn is
// refused.
package password
