package model

// Heartbeat is a row that changes while anybody reads from replicas: a replica that
// shows a beat has everything that was committed before it.
type Heartbeat struct {
	// ID is heartbeatID: there is one row.
	ID int `gorm:"primaryKey;autoIncrement:false"`
	// Beat is drawn anew each time, so that two histories of a database, one of them
	// lost in a failover, have none in common.
	Beat int64 `gorm:"not null"`
}

const heartbeatID = 1
