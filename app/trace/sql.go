package trace

import (
	"github.com/opentracing/opentracing-go"
	"github.com/opentracing/opentracing-go/ext"
	"gorm.io/gorm"
)

// SQL is a gorm plugin that makes a span of every statement whose context
// belongs to a trace. The span holds the statement with placeholders, never the
// values.
type SQL struct{}

// Name is the plugin's name.
func (SQL) Name() string { return "backbeat:trace" }

const sqlSpan = "backbeat:span"

// Initialize hooks into every kind of statement.
func (s SQL) Initialize(db *gorm.DB) error {
	before := func(operation string) func(*gorm.DB) {
		return func(tx *gorm.DB) { begin(tx, operation) }
	}
	create, query, update, remove, row, raw := db.Callback().Create(), db.Callback().Query(), db.Callback().Update(),
		db.Callback().Delete(), db.Callback().Row(), db.Callback().Raw()
	for _, err := range []error{
		create.Before("*").Register("backbeat:before_create", before("sql insert")),
		create.After("*").Register("backbeat:after_create", end),
		query.Before("*").Register("backbeat:before_query", before("sql select")),
		query.After("*").Register("backbeat:after_query", end),
		update.Before("*").Register("backbeat:before_update", before("sql update")),
		update.After("*").Register("backbeat:after_update", end),
		remove.Before("*").Register("backbeat:before_delete", before("sql delete")),
		remove.After("*").Register("backbeat:after_delete", end),
		row.Before("*").Register("backbeat:before_row", before("sql row")),
		row.After("*").Register("backbeat:after_row", end),
		raw.Before("*").Register("backbeat:before_raw", before("sql raw")),
		raw.After("*").Register("backbeat:after_raw", end),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func begin(tx *gorm.DB, operation string) {
	ctx := tx.Statement.Context
	if span, under := Start(ctx, operation, ext.SpanKindRPCClient); under != ctx {
		tx.InstanceSet(sqlSpan, span)
	}
}

func end(tx *gorm.DB) {
	value, ok := tx.InstanceGet(sqlSpan)
	if !ok {
		return
	}
	span, ok := value.(opentracing.Span)
	if !ok {
		return
	}
	ext.DBType.Set(span, tx.Name())
	ext.DBStatement.Set(span, tx.Statement.SQL.String())
	span.SetTag("db.rows", tx.Statement.RowsAffected)
	Fail(span, tx.Error)
	span.Finish()
}
