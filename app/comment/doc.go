// Package comment owns the texts under videos: the tables comments and
// comment_videos. idl/comment.proto is its manual.
//
// Invariants:
//   - A video's counter equals its rows: both change in one transaction, and the
//     counter by as many rows as changed.
//   - A comment is deleted by its author only, and the statement that deletes it
//     says so.
//   - Ids rise with time, so they order the list.
package comment
