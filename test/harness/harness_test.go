package harness_test

import (
	"testing"

	"backbeat/test/harness"
)

func TestDatabasesAreFresh(t *testing.T) {
	for _, kind := range harness.Databases()[1:] {
		t.Run(kind.Name, func(t *testing.T) {
			for range 2 {
				db, err := harness.Connect(kind.Open(t))
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				if _, err := db.ExecContext(t.Context(), "CREATE TABLE words (word varchar(10) PRIMARY KEY)"); err != nil {
					t.Fatal(err)
				}
				if _, err := db.ExecContext(t.Context(), "INSERT INTO words VALUES ('用户🎬')"); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestServers(t *testing.T) {
	t.Log(harness.RabbitMQ(t), harness.RabbitMQ(t), harness.Redis(t).URL, harness.Etcd(t).URL)
}
