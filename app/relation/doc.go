// Package relation owns who follows whom: the tables follows and follow_users.
// idl/relation.proto is its manual.
//
// Invariants:
//   - A follow is one row, (follower, followee): the primary key, not a look
//     beforehand, decides whether it is new.
//   - The counters of both users equal their rows: they change in the same
//     transaction, and only when a row did.
//   - Nobody follows themselves or the system account.
package relation
