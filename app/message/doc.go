// Package message owns chats: the tables messages and conversations.
// idl/message.proto is its manual.
//
// Invariants:
//   - A pair of users has one conversation row. Whoever writes a message locks it
//     first and takes create_time from it, so create_time is unique and rises in
//     commit order: a reader who polls with the last one it saw misses nothing,
//     also when the clock stands still or goes back.
//   - That row holds the pair's last message.
//   - The system account writes notices through the queue alone, never through
//     Send, and nobody writes to it. A notice's id follows from what it is about:
//     delivered twice it is written once.
package message
