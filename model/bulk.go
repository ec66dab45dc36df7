package model

import "gorm.io/gorm"

// How many rows Bulk writes with one statement. Servers are far, so it is as many
// as the widest table allows: 16 columns, and PostgreSQL takes 65,535 values.
// SQLite is near, and its driver searches all values for each.
const (
	serverRows = 2000
	sqliteRows = 50
)

// Bulk inserts many rows into a table, many with each statement, and holds no
// more than those in memory. It is for one goroutine.
type Bulk[T any] struct {
	tx   *gorm.DB
	rows []T
}

// NewBulk returns a Bulk of the table of T that writes in the transaction.
func NewBulk[T any](tx *gorm.DB) *Bulk[T] {
	size := serverRows
	if tx.Name() == "sqlite" {
		size = sqliteRows
	}
	return &Bulk[T]{tx, make([]T, 0, size)}
}

// Add inserts the row, at the latest with Flush.
func (b *Bulk[T]) Add(row T) error {
	b.rows = append(b.rows, row)
	if len(b.rows) < cap(b.rows) {
		return nil
	}
	return b.Flush()
}

// Flush inserts what is left.
func (b *Bulk[T]) Flush() error {
	if len(b.rows) == 0 {
		return nil
	}
	err := b.tx.Create(&b.rows).Error
	b.rows = b.rows[:0]
	return err
}
