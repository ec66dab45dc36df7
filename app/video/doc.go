// Package video owns uploads from the stored original to the published file, the
// feed, and how many works each author has. The Server answers RPCs (see
// idl/video.proto); the Worker takes the queued uploads and makes what phones
// play of them.
//
// Invariants:
//
//   - A row leaves the state processing once, by one UPDATE that names the state
//     it expects. Whoever loses that race changes nothing.
//   - published_at is set exactly while a video is published, and is unique: a
//     feed cursor of one number neither skips nor repeats a video.
//   - An author's works are the author's published rows: both change in the same
//     transaction.
//   - Every row in processing has a job in the queue, or the sweep sends one.
//   - The media keys of the published file and its cover follow from the
//     original's key. Doing a job twice writes the same files twice, so a worker
//     that dies leaves none that nobody knows of.
//   - A published upload keeps its original for a while, since the author's app
//     may be playing it; then the sweep deletes it. A failed one's goes at once,
//     and the sweep deletes whatever a worker made of it since.
package video
