package model

import (
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Grow adds the columns of rows to those of the table, which start from zero, with
// one statement. Rows are in key order, in which everyone locks: inserting what may
// be there locks in the order of the rows, an update would in that of its plan.
func Grow[T any](tx *gorm.DB, rows []T, table, key string, columns ...string) error {
	if len(rows) == 0 {
		return nil
	}
	format := "excluded.%s"
	if tx.Name() == "mysql" {
		format = "VALUES(%s)"
	}
	add := map[string]any{}
	for _, column := range columns {
		add[column] = gorm.Expr(table + "." + column + " + " + strings.ReplaceAll(format, "%s", column))
	}
	return tx.Clauses(clause.OnConflict{
		Columns:   []clause.Column{{Name: key}},
		DoUpdates: clause.Assignments(add),
	}).Create(&rows).Error
}
