package model

import (
	"context"
	"database/sql"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"gorm.io/gorm"
	"gorm.io/plugin/dbresolver"

	"backbeat/app/metrics"
)

// Measure registers how long statements take, and the pools of connections. It is
// called before db is used; to may be nil.
func Measure(db *gorm.DB, to prometheus.Registerer) error {
	if to == nil {
		return nil
	}
	if err := db.Use(metrics.SQL{Registerer: to}); err != nil {
		return err
	}
	pool, err := db.DB()
	if err != nil {
		return err
	}
	metrics.Register(to, collectors.NewDBStatsCollector(pool, "primary"))
	return eachReader(db, func(readers *sql.DB) error {
		metrics.Register(to, collectors.NewDBStatsCollector(readers, "readers"))
		return nil
	})
}

// Ping returns why db can do nothing at present, nil when it can.
func Ping(ctx context.Context, db *gorm.DB) error {
	pool, err := db.DB()
	if err != nil {
		return err
	}
	return pool.PingContext(ctx)
}

// eachReader calls do for the pools beside the primary one that only read.
func eachReader(db *gorm.DB, do func(*sql.DB) error) error {
	resolver, ok := db.Config.Plugins[(&dbresolver.DBResolver{}).Name()].(*dbresolver.DBResolver)
	if !ok {
		return nil
	}
	primary, err := db.DB()
	if err != nil {
		return err
	}
	return resolver.Call(func(pool gorm.ConnPool) error {
		if readers, ok := pool.(*sql.DB); ok && readers != primary {
			return do(readers)
		}
		return nil
	})
}
