package model

// Message is one line of a chat, owned by the message service. Low and High are
// the smaller and the larger id of the two users.
type Message struct {
	ID         int64  `gorm:"primaryKey;autoIncrement:false"`
	Low        int64  `gorm:"not null;uniqueIndex:idx_messages_chat,priority:1"`
	High       int64  `gorm:"not null;uniqueIndex:idx_messages_chat,priority:2"`
	CreateTime int64  `gorm:"not null;uniqueIndex:idx_messages_chat,priority:3"`
	FromUserID int64  `gorm:"not null"`
	Content    string `gorm:"size:1024;not null"`
}

// Conversation orders the messages of a pair and holds the last one.
type Conversation struct {
	Low  int64 `gorm:"primaryKey;autoIncrement:false"`
	High int64 `gorm:"primaryKey;autoIncrement:false"`
	// LastTime is the create_time of the last message; the next one is later.
	LastTime       int64  `gorm:"not null"`
	LastMessageID  int64  `gorm:"not null"`
	LastFromUserID int64  `gorm:"not null"`
	LastContent    string `gorm:"size:1024;not null"`
}
