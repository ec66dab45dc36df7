package model

// Favorite is what a user last said of a video, owned by the favorite service.
// An unlike keeps its row: without it a late, older like would be revived.
type Favorite struct {
	UserID   int64 `gorm:"primaryKey;autoIncrement:false;index:idx_favorites_list,priority:1"`
	VideoID  int64 `gorm:"primaryKey;autoIncrement:false"`
	AuthorID int64 `gorm:"not null"`
	Liked    bool  `gorm:"not null;index:idx_favorites_list,priority:2"`
	// Version orders the writes of one (user, video) and the user's list.
	Version int64 `gorm:"not null;index:idx_favorites_list,priority:3"`
}

// FavoriteVideo counts the likes a video has.
type FavoriteVideo struct {
	VideoID int64 `gorm:"primaryKey;autoIncrement:false"`
	Likes   int64 `gorm:"not null"`
}

// FavoriteUser counts the likes a user received on own videos and gave.
type FavoriteUser struct {
	UserID   int64 `gorm:"primaryKey;autoIncrement:false"`
	Received int64 `gorm:"not null"`
	Given    int64 `gorm:"not null"`
}
