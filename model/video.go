package model

// VideoState is where an upload stands.
type VideoState uint8

// The states. A video leaves Processing once and never comes back; an operator may
// hide a published one, and show it again.
const (
	VideoProcessing VideoState = 1
	VideoPublished  VideoState = 2
	VideoFailed     VideoState = 3
	VideoHidden     VideoState = 4
)

// Video is an upload, owned by the video service.
type Video struct {
	ID       int64  `gorm:"primaryKey;autoIncrement:false;index:idx_videos_author,priority:3"`
	AuthorID int64  `gorm:"not null;index:idx_videos_author,priority:1"`
	Title    string `gorm:"size:100;not null"`
	// OriginalKey is the media key of the uploaded file.
	OriginalKey string `gorm:"size:255;not null"`
	// PlayKey is the media key of the file that plays now; the original until published.
	PlayKey string `gorm:"size:255;not null"`
	// CoverKey is the media key of the cover; empty means the placeholder.
	CoverKey string     `gorm:"size:255;not null"`
	State    VideoState `gorm:"not null;index:idx_videos_author,priority:2;index:idx_videos_queue,priority:1"`
	// Reason is why it failed, for people.
	Reason string `gorm:"size:255;not null"`
	// PublishedAt orders the feed. It is unique: the store bumps it on conflict,
	// so that a cursor of one number skips nothing.
	PublishedAt *int64 `gorm:"uniqueIndex"`
	CreatedAt   int64  `gorm:"not null"`
	// QueuedAt is, while processing, when the queue took the upload's job, 0 until
	// then: a sweep sends jobs that never got there. Afterwards it is when the
	// upload was finished, until the sweep has deleted the original, then 0.
	QueuedAt   int64 `gorm:"not null;index:idx_videos_queue,priority:2"`
	DurationMS int64 `gorm:"not null"`
	Size       int64 `gorm:"not null"`
	Width      int32 `gorm:"not null"`
	Height     int32 `gorm:"not null"`
}

// VideoAuthor counts the published videos of an author.
type VideoAuthor struct {
	AuthorID int64 `gorm:"primaryKey;autoIncrement:false"`
	Works    int64 `gorm:"not null"`
}
