package model

// QueueMessage is a message of the table queue, which package mq works on.
type QueueMessage struct {
	ID int64 `gorm:"primaryKey"`
	// MessageID is the message's own id.
	MessageID string `gorm:"size:36;not null;index"`
	Queue     string `gorm:"size:64;not null;index:idx_queue_ready,priority:1"`
	// Dead messages are given up and only listed or replayed.
	Dead bool `gorm:"not null;index:idx_queue_ready,priority:2"`
	// AvailableAt is when the message may be taken: after a delay, or after the
	// claim of a consumer that died has run out.
	AvailableAt int64 `gorm:"not null;index:idx_queue_ready,priority:3"`
	// Claim names the hand-over in progress; a consumer that lost it must not
	// settle the message.
	Claim string `gorm:"size:36;not null"`
	// Claims is how often it was handed over without being settled or put back:
	// consumers died with it.
	Claims int    `gorm:"not null"`
	Type   string `gorm:"size:64;not null"`
	Body   []byte `gorm:"size:1048576;not null"`
	// Trace is the span context, as JSON.
	Trace    string `gorm:"size:1024;not null"`
	Attempts int    `gorm:"not null"`
	// Reason is why it died.
	Reason    string `gorm:"size:1024;not null"`
	DiedAt    int64  `gorm:"not null"`
	CreatedAt int64  `gorm:"not null"`
}

// QueueLease is held by the one consumer of a queue that allows a single one.
type QueueLease struct {
	Queue string `gorm:"primaryKey;size:64"`
	Owner string `gorm:"size:36;not null"`
	// Until is when the lease runs out unless renewed.
	Until int64 `gorm:"not null"`
}
