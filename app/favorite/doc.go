// Package favorite owns likes: who likes which video, and the counts that follow
// from it. Only it touches the tables favorites, favorite_videos and
// favorite_users.
//
// A like is answered when the queue has taken it and is applied by the Worker a
// moment later. In between it is a pending entry, which its user's own reads put
// before the row. What always holds:
//
//   - Writes of one (user, video) carry rising versions and the highest one wins,
//     in whatever order and however often they arrive. An unlike keeps its row, or
//     a late like would revive it.
//   - Counters change only with the rows they count, in the same transaction:
//     likes == rows liked, for every video and user, whenever nothing is in flight.
//   - A pending entry counts only while it is newer than the row, so one that
//     outlives its purpose, or comes back late, shows nothing false.
//   - Without the pending entries (Redis is away) acts are applied before they are
//     answered, and reads serve the rows.
package favorite
