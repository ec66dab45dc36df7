package model

// Comment is a text under a video, owned by the comment service.
type Comment struct {
	ID        int64  `gorm:"primaryKey;autoIncrement:false;index:idx_comments_video,priority:2"`
	VideoID   int64  `gorm:"not null;index:idx_comments_video,priority:1"`
	UserID    int64  `gorm:"not null"`
	Content   string `gorm:"size:1024;not null"`
	CreatedAt int64  `gorm:"not null"`
}

// CommentVideo counts the comments of a video.
type CommentVideo struct {
	VideoID  int64 `gorm:"primaryKey;autoIncrement:false"`
	Comments int64 `gorm:"not null"`
}
