// Package model is the shape of the data: one gorm struct per table with its
// keys and indexes, how a database is opened, and the migrations. It holds no
// queries; each table is touched by the one service that owns it.
//
// Times are Unix milliseconds in UTC. Text that must be unique is stored as
// bytes computed in Go, never compared by a collation.
package model
