// Package model is the shape of the data: one gorm struct per table with its
// keys and indexes, how a database and its replicas are opened, which of them a
// read may be asked of, and the migrations. It holds no queries but those that this
// needs; each table is touched by the one service that owns it.
//
// Times are Unix milliseconds in UTC. Text that must be unique is stored as
// bytes computed in Go, never compared by a collation.
package model
