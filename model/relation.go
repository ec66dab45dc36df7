package model

// Follow says that one user follows another, owned by the relation service.
type Follow struct {
	FollowerID int64 `gorm:"primaryKey;autoIncrement:false;index:idx_follows_following,priority:1;index:idx_follows_followers,priority:3"`
	FolloweeID int64 `gorm:"primaryKey;autoIncrement:false;index:idx_follows_following,priority:3;index:idx_follows_followers,priority:1"`
	// Seq orders the lists by when: a drawn id, since two follows may share a
	// millisecond.
	Seq int64 `gorm:"not null;index:idx_follows_following,priority:2;index:idx_follows_followers,priority:2"`
}

// FollowUser counts whom a user follows and who follows the user.
type FollowUser struct {
	UserID    int64 `gorm:"primaryKey;autoIncrement:false"`
	Follows   int64 `gorm:"not null"`
	Followers int64 `gorm:"not null"`
}
