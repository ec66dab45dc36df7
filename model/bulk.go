package model

import "gorm.io/gorm"

// bulkRows is how many rows Bulk writes with one statement: SQLite binds 32,766
// values at most, and the widest table has 16 columns.
const bulkRows = 2000

// Bulk inserts many rows into a table, thousands with each statement, and holds
// no more than those in memory. It is for one goroutine.
type Bulk[T any] struct {
	tx   *gorm.DB
	rows []T
}

// NewBulk returns a Bulk of the table of T that writes in the transaction.
func NewBulk[T any](tx *gorm.DB) *Bulk[T] { return &Bulk[T]{tx: tx, rows: make([]T, 0, bulkRows)} }

// Add inserts the row, at the latest with Flush.
func (b *Bulk[T]) Add(row T) error {
	b.rows = append(b.rows, row)
	if len(b.rows) < bulkRows {
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
