// Package recount holds counters against the rows they count. Whoever owns a table
// of counters declares it; a counter that says something else, after a restore of
// half a backup or a row deleted by hand, is found and set right while the services
// run.
package recount

import (
	"context"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"backbeat/model"
)

// Table is a table of counters.
type Table struct {
	// Name is the table's, and Key the column of the id that a row counts for. No
	// row means zeros.
	Name, Key string
	Columns   []Column
}

// Column is a counter.
type Column struct {
	// Name is the column's.
	Name string
	// Of is the table of the rows that are counted, By its column that holds the
	// id, and Where the condition they meet, empty for all.
	Of, By, Where string
}

// condition returns where the rows of the column are found.
func (c Column) condition() string {
	if c.Where == "" {
		return "1 = 1"
	}
	return c.Where
}

// Drift is a counter that is wrong.
type Drift struct {
	Table  Table `gorm:"-"`
	Column string
	ID     int64
	// Says is what the counter holds, Found what it should.
	Says, Found int64
}

// String tells an operator of it.
func (d Drift) String() string {
	return fmt.Sprintf("%s.%s says %d where %s is %d, and there are %d", d.Table.Name, d.Column, d.Says, d.Table.Key, d.ID, d.Found)
}

// Find returns up to limit drifts of each column, in order of ids. It reads the
// tables whole, each column's as they are at one moment, on the primary: who asks runs for
// less time than it takes to know a replica.
func Find(ctx context.Context, db *gorm.DB, t Table, limit int) ([]Drift, error) {
	var all []Drift
	for _, c := range t.Columns {
		query := fmt.Sprintf(`SELECT id, SUM(held) AS says, SUM(counted) AS found FROM (
			SELECT %s AS id, %s AS held, 0 AS counted FROM %s
			UNION ALL SELECT %s, 0, COUNT(*) FROM %s WHERE %s GROUP BY %s
		) AS sides GROUP BY id HAVING SUM(held) <> SUM(counted) ORDER BY id LIMIT %d`,
			t.Key, c.Name, t.Name, c.By, c.Of, c.condition(), c.By, limit)
		var drifts []Drift
		if err := db.WithContext(ctx).Raw(query).Scan(&drifts).Error; err != nil {
			return nil, model.Wrap(err, "counting %s.%s anew", t.Name, c.Name)
		}
		for _, d := range drifts {
			d.Table, d.Column = t, c.Name
			all = append(all, d)
		}
	}
	return all, nil
}

// Mend sets the counters of the id to what there is. Whoever adds a row adds to its
// counter in the same transaction, so while the counter is locked a row has either
// been counted or will count itself.
func Mend(ctx context.Context, db *gorm.DB, t Table, id int64) error {
	err := model.Transact(ctx, db, func(tx *gorm.DB) error {
		row := map[string]any{t.Key: id}
		for _, c := range t.Columns {
			row[c.Name] = 0
		}
		// Writing it locks the row, which there may not be yet.
		lock := clause.OnConflict{
			Columns:   []clause.Column{{Name: t.Key}},
			DoUpdates: clause.Assignments(map[string]any{t.Key: gorm.Expr(t.Name + "." + t.Key)}),
		}
		if err := tx.Table(t.Name).Clauses(lock).Create(row).Error; err != nil {
			return err
		}
		counted := map[string]any{}
		for _, c := range t.Columns {
			var n int64
			if err := tx.Table(c.Of).Where(c.By+" = ?", id).Where(c.condition()).Count(&n).Error; err != nil {
				return err
			}
			counted[c.Name] = n
		}
		return tx.Table(t.Name).Where(t.Key+" = ?", id).Updates(counted).Error
	})
	return model.Wrap(err, "counting %s of %d anew", t.Name, id)
}
