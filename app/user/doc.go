// Package user owns accounts: the table users, their names and their passwords.
// idl/user.proto is its manual.
//
// Invariants:
//   - A name belongs to one account: names with the same text.Key are the same,
//     and the table's unique key decides between racing registrations. The system
//     account's name is taken from the start.
//   - A password is kept only as its hash, which leaves this package in no answer.
//   - An unknown name, a wrong password and the system account, which has none,
//     get the same answer after the same work.
package user
